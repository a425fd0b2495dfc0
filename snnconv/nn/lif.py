"""The leaky integrate-and-fire neuron, trained by a surrogate gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.ir import dynamics
from snnconv.ir.dynamics import NeuronConstants
from snnconv.ir.neuron import Neuron
from snnconv.nn.mpbn import MPBN
from snnconv.nn.psp_norm import PSPNorm


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
        v = v_reset if s, u if not (reset="hard")   or   v = u - threshold * s (reset="soft")

    The kept value is the raw potential unless `carry_normalised`, which puts norm(u) in the place of u in the last line, as
    spikingjelly's MPBNLIFNode does. A soft reset subtracts the threshold as given here, before any folding. In memory the leak is
    applied at once: `state` is `leak * v` `[B, C, ...]`, None before the first step, which `snnconv.ir.neuron` calls m.

    Args:
        leak: the share of the potential that is kept (see `snnconv.ir.neuron`), a number or a tensor that broadcasts against
            `[C, ...]`.
        threshold: firing threshold on the (normalised) potential, a number or such a tensor.
        reset: "hard" or "soft".
        v_reset: potential after a spike under a hard reset.
        strict: fire on `>` (True) or `>=` (False).
        norm: an `MPBN` or a `PSPNorm`, or None.
        carry_normalised: keep the normalised potential instead of the raw one.
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
        norm: MPBN | PSPNorm | None = None,
        carry_normalised: bool = False,
        surrogate_width: float = 1.0,
    ) -> None:
        super().__init__()
        if reset not in ("hard", "soft"):
            raise ValueError(f"reset is {reset!r}; it is 'hard' or 'soft'")
        for name, value in (("leak", leak), ("threshold", threshold), ("v_reset", v_reset)):
            if not all(map(math.isfinite, torch.as_tensor(value, device="cpu").flatten().tolist())):
                raise ValueError(f"{name} is not finite")
        if carry_normalised and norm is None:
            raise ValueError("carry_normalised without a membrane norm")
        self.register_buffer("leak", torch.as_tensor(leak, dtype=torch.float32), persistent=False)
        self.register_buffer("threshold", torch.as_tensor(threshold, dtype=torch.float32), persistent=False)
        self.soft, self.strict, self.v_reset = reset == "soft", strict, v_reset
        self.surrogate_width = surrogate_width
        self.norm, self.carry_normalised = norm, carry_normalised
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """One time step: input current `[B, C, ...]` in, spikes in {0, 1} of the same shape out."""
        k = self._constants()
        u = dynamics.integrate(x, self.state)
        v = u if self.norm is None else self.norm(u)
        fired = dynamics.fire(v, k)
        spike = _Spike.apply(v - self.threshold, fired, self.surrogate_width)
        self.state = dynamics.reset(v if self.carry_normalised else u, fired, k)
        return spike

    def _constants(self) -> NeuronConstants:
        amount = self.leak * (self.threshold if self.soft else self.v_reset)
        return NeuronConstants(self.threshold, leak=self.leak, reset=amount, soft=self.soft, strict=self.strict)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and files leave out the potential: it belongs to a run, not to the layer."""
        return {**self.__dict__, "state": None}

    def neuron(self) -> Neuron:
        """The canonical neuron this layer is at inference."""
        return Neuron(
            **self._constants()._asdict(),
            norm=None if self.norm is None else replace(self.norm.frozen(), carried=self.carry_normalised),
        )

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""

        def show(t: Tensor) -> str:
            return f"{t.item():g}" if t.dim() == 0 else f"tensor{tuple(t.shape)}"

        sign = ">" if self.strict else ">="
        kind = "soft" if self.soft else f"hard to {self.v_reset:g}"
        return f"leak={show(self.leak)}, fires on {sign} {show(self.threshold)}, reset {kind}"
