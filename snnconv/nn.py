"""Trainable spiking layers whose inference equations are the canonical neuron's, for networks built and trained here.

A network is an ordinary `nn.Module` whose forward is *one time step*; its neurons keep their membrane potential between calls:

    net = nn.Sequential(Conv2d(1, 16, 3), BatchNorm2d(16), LIF(norm=MPBN(16)), Flatten(), LazyLinear(10))
    logits = run(net, images, timesteps=4)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.neuron import MembraneNorm, Neuron, carry, charge

READOUTS = ("mean", "sum", "last", "none")


class MPBN(nn.Module):
    """Membrane-potential batch norm (arXiv 2308.08359), per channel or per element.

    Args:
        features: `C` for statistics per channel of `[B, C, ...]`, or `(C, H, W)` for statistics per element.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        affine: whether gamma (`weight`) and beta (`bias`) are learned.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int | tuple[int, ...], eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        size = (features,) if isinstance(features, int) else tuple(features)
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(size)) if affine else None
        self.bias = nn.Parameter(torch.zeros(size)) if affine else None
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, u: Tensor) -> Tensor:
        """Normalise the membrane potential `u` `[B, C, ...]`; in training the batch's own statistics are used and tracked."""
        if not self.training:
            return self.frozen()(u)
        per_element = self.running_mean.dim() > 1
        gamma, beta = (None if t is None else t.flatten() for t in (self.weight, self.bias))
        self.num_batches_tracked += 1
        out = nn.functional.batch_norm(
            u.flatten(1) if per_element else u,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            gamma,
            beta,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        return out.view(u.shape)

    def frozen(self) -> MembraneNorm:
        """The norm at inference, sharing this layer's tensors."""
        return MembraneNorm(self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{tuple(self.running_mean.shape)}, eps={self.eps}, affine={self.weight is not None}"


class _Spike(torch.autograd.Function):
    """Heaviside forward; backward a triangle of the given half width around the threshold (Bellec et al., arXiv 1803.09574)."""

    @staticmethod
    def forward(ctx, distance: Tensor, fired: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.width = width
        return fired.to(distance.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (distance,) = ctx.saved_tensors
        return grad * (1 - distance.abs() / ctx.width).clamp(min=0) / ctx.width, None, None


class LIF(nn.Module):
    """Leaky integrate-and-fire neuron with an optional membrane norm; `leak=1` makes it an integrate-and-fire neuron.

    Per time step, with x the input current and v the potential kept from the step before (0 at first):

        u = leak * v + x
        s = norm(u) > threshold          (>= unless strict)
        v = v_reset where s, u elsewhere (reset="hard")   or   v = u - threshold * s (reset="soft")

    The kept value is the raw potential, never the normalised one; a soft reset subtracts the threshold as given here, before any
    folding. In memory the leak is applied at once (`leak * v` is carried), which is what `snnconv.neuron` calls the state.

    Args:
        leak: factor on the kept potential, a number or a tensor that broadcasts against `[C, ...]`.
        threshold: firing threshold on the (normalised) potential, a number or such a tensor.
        reset: "hard" or "soft".
        v_reset: potential after a spike under a hard reset.
        strict: fire on `>` (True) or `>=` (False).
        norm: an `MPBN`, or None.
        surrogate_width: half width of the triangular surrogate gradient.
    """

    leak: Tensor
    threshold: Tensor

    def __init__(
        self,
        leak: float | Tensor = 0.25,
        threshold: float | Tensor = 0.5,
        reset: str = "hard",
        v_reset: float = 0.0,
        strict: bool = True,
        norm: MPBN | None = None,
        surrogate_width: float = 1.0,
    ) -> None:
        super().__init__()
        if reset not in ("hard", "soft"):
            raise ValueError(f"reset is {reset!r}; it is 'hard' or 'soft'")
        for name, value in (("leak", leak), ("threshold", threshold), ("v_reset", v_reset)):
            if not all(map(math.isfinite, torch.as_tensor(value, device="cpu").flatten().tolist())):
                raise ValueError(f"{name} is not finite")
        self.register_buffer("leak", torch.as_tensor(leak, dtype=torch.float32), persistent=False)
        self.register_buffer("threshold", torch.as_tensor(threshold, dtype=torch.float32), persistent=False)
        self.soft, self.strict, self.v_reset = reset == "soft", strict, v_reset
        self.surrogate_width = surrogate_width
        self.norm = norm
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """One time step: input current `[B, C, ...]` in, spikes in {0, 1} of the same shape out."""
        u = charge(x, self.state, None, None)
        v = u if self.norm is None else self.norm(u)
        fired = v > self.threshold if self.strict else v >= self.threshold
        spike = _Spike.apply(v - self.threshold, fired, self.surrogate_width)
        self.state = carry(u, fired, self.leak, None, self._carried_reset(), self.soft)
        return spike

    def _carried_reset(self) -> Tensor:
        return self.leak * (self.threshold if self.soft else self.v_reset)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and files leave out the potential: it belongs to a run, not to the layer."""
        return {**self.__dict__, "state": None}

    def neuron(self) -> Neuron:
        """The canonical neuron this layer is at inference."""
        return Neuron(
            threshold=self.threshold,
            leak=self.leak,
            reset=self._carried_reset(),
            soft=self.soft,
            strict=self.strict,
            norm=None if self.norm is None else self.norm.frozen(),
        )

    def extra_repr(self) -> str:
        def show(t: Tensor) -> str:
            return f"{t.item():g}" if t.dim() == 0 else f"tensor{tuple(t.shape)}"

        sign = ">" if self.strict else ">="
        kind = "soft" if self.soft else f"hard to {self.v_reset:g}"
        return f"leak={show(self.leak)}, fires on {sign} {show(self.threshold)}, reset {kind}"


def neurons(module: nn.Module) -> dict[str, LIF]:
    """Every spiking layer of `module` by its path."""
    return {name: m for name, m in module.named_modules() if isinstance(m, LIF)}


def reset(module: nn.Module) -> None:
    """Forget the membrane potential of every neuron: the next call is the first time step of a new sample."""
    for neuron in neurons(module).values():
        neuron.state = None


def frames(x: Tensor, timesteps: int, event: bool) -> Iterator[Tensor]:
    """The input of each time step: `x` `[B, C, H, W]` shown at each of them, or the frames of `x` `[B, T, C, H, W]`."""
    if event and x.shape[1] != timesteps:
        raise ValueError(f"{x.shape[1]} frames for {timesteps} time steps")
    for t in range(timesteps):
        yield x[:, t] if event else x


def read_out(outputs: list[Tensor], readout: str) -> Tensor:
    """Reduce the outputs `[B, K]` of all steps; `none` stacks them to `[B, T, K]`."""
    stacked = torch.stack(outputs, dim=1)
    if readout == "mean":
        return stacked.mean(1)
    if readout == "sum":
        return stacked.sum(1)
    if readout == "last":
        return stacked[:, -1]
    if readout == "none":
        return stacked
    raise ValueError(f"readout is {readout!r}; it is one of {', '.join(READOUTS)}")


def run(module: nn.Module, x: Tensor, timesteps: int, readout: str = "mean", event: bool = False) -> Tensor:
    """Run a one-step `module` over time from a fresh state and reduce its outputs (see `frames` and `read_out`)."""
    reset(module)
    return read_out([module(frame) for frame in frames(x, timesteps, event)], readout)
