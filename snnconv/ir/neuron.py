"""The canonical spiking neuron: its constants, its equations, its place in a captured graph.

One time step of every neuron that snnconv knows is

    i = A * i + g * x + c                synaptic current: that of the step before decays by A, without A it is gone; g = 1 and
                                         c = 0 unless a norm left them
    u = m + i                            integrate: u is the potential before firing
    s = [N(u) > theta]                   fire: N is the membrane norm, gone once folded; >= if not strict;
                                         < or <= on the channels on which the direction is inverted
    m = R if fired, L * v + B if not     hard reset: R is what is carried, leak already applied
    m = L * v + B - S * s                soft reset

with m = i = 0 before the first step. v is what is carried: u itself, or N(u) if the membrane norm normalises the state too.
A, L, B, R, S, g, c and theta are scalars, per channel or per element; g and c may have one such value per time step.
`snnconv.ir.dynamics` holds these phases as functions.

A neuron whose potential is read out is the same; what a network reads of it follows from u and s by plain operators in the graph.

The *state* of a neuron is what it keeps from one step to the next, in one tensor: m, or m and i if there is an A.

The *leak* L is the share of the potential that is kept, here and in every option, setting and artifact: 1 never forgets. The
paper of MPBN (arXiv 2308.08359) writes tau for it, snntorch `beta`, and spikingjelly, whose tau is a time constant, 1 - 1/tau.
A, called `synaptic_decay`, is likewise the share of the synaptic current that is kept: snntorch's `alpha`, spikingjelly's
`c_decay`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from snnconv.errors import Refused
from snnconv.ir import dynamics
from snnconv.ir.dynamics import NeuronConstants

Shape = tuple[int, ...]


@dataclass(frozen=True)
class MembraneNorm:
    """A norm on the membrane potential at inference: MPBN (arXiv 2308.08359), or PSP norm (arXiv 2203.01544) with a mean of 0.

    `mean`, `var` and, unless the norm has no affine part, `gamma` and `beta` are `[C]` (one per channel) or `[C, H, W]` (one per
    element). Only torch's own `batch_norm` kernel evaluates it: that kernel is the oracle of every folded threshold. `carried`
    says whether the normalised potential is also what the neuron carries on; else that is the raw one. `kind` is its name.
    """

    mean: Tensor
    var: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    eps: float
    carried: bool = False
    kind: str = "MPBN"

    def __call__(self, u: Tensor) -> Tensor:
        """Normalise `u` `[B, C, ...]`."""
        # torch has another kernel, with other last bits, for strided potentials and statistics.
        if not (u.is_contiguous() or u.is_contiguous(memory_format=torch.channels_last)):
            u = u.contiguous()
        per_element = self.mean.dim() > 1
        flat = [None if t is None else t.contiguous().flatten() for t in (self.mean, self.var, self.gamma, self.beta)]
        mean, var, gamma, beta = flat
        out = torch.nn.functional.batch_norm(u.flatten(1) if per_element else u, mean, var, gamma, beta, False, 0.0, self.eps)
        return out.view(u.shape) if per_element else out


@dataclass(frozen=True)
class Neuron:
    """The constants of one spiking layer, by the names and letters of this module's equations.

    Tensors broadcast against `[B, *shape]`: scalars `[]`, per channel `[C, 1, 1]`, per element `[C, H, W]`. `gain` (g) and
    `offset` (c) may also be per step: `[T, 1, C, 1, 1]`, the second dimension standing for the batch. `reset` is R, or S if
    `soft`. `inverted` is bool per channel or element: True fires *below* the threshold. A `silent` neuron never fires: its
    threshold is infinite, nothing resets it, and only its potential is read.
    """

    threshold: Tensor
    leak: Tensor
    reset: Tensor
    soft: bool = False
    strict: bool = True
    shift: Tensor | None = None
    gain: Tensor | None = None
    offset: Tensor | None = None
    synaptic_decay: Tensor | None = None
    inverted: Tensor | None = None
    norm: MembraneNorm | None = None
    silent: bool = False
    shape: Shape = field(default=())

    def constants(self) -> NeuronConstants:
        """What `snnconv.ir.dynamics` computes with, the membrane norm left aside.

        One comparison serves all channels: `u < theta` is `not (u > pred(theta))` and `u <= theta` is `not (u >= succ(theta))`,
        pred and succ being the neighbouring floats. So inverted channels have another threshold and a flipped outcome.
        """
        named = {name: getattr(self, name) for name in NeuronConstants._fields}
        if self.inverted is not None:
            toward = torch.full_like(self.threshold, -math.inf if self.strict else math.inf)
            named["threshold"] = torch.where(self.inverted, torch.nextafter(self.threshold, toward), self.threshold)
        return NeuronConstants(**named)

    def silenced(self) -> Neuron:
        """The silent neuron that this one is if its spikes leave no trace and nothing reads them."""
        return replace(
            self,
            threshold=torch.full_like(self.threshold, math.inf),
            reset=torch.zeros_like(self.reset),
            soft=True,
            strict=True,
            inverted=None,
            norm=None,
            silent=True,
        )

    def synaptic_current(self, x: Tensor, before: Tensor | None, t: int) -> Tensor:
        """i `[B, *shape]` at step `t`, given the input `x` and i of the step before, None at the first."""
        return dynamics.synaptic_current(x, before, self.constants(), t)

    def fires(self, u: Tensor) -> Tensor:
        """The decision of every potential `[B, *shape]`, membrane norm included, as bool."""
        return dynamics.fire(self._compared(u), self.constants())

    def after_reset(self, u: Tensor, fired: Tensor) -> Tensor:
        """m after a step with potential `u` and spikes `fired`, all `[B, *shape]`."""
        return dynamics.reset(self._carried(u), fired, self.constants())

    def step(self, x: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """Time step `t` on `x` `[B, *shape]`: the potential, the spikes in {0, 1}, the next state `[B, *state_shape]`.

        `state` is None before the first step. Raises RuntimeError for a step for which there are no constants.
        """
        k = self.constants()
        m, before = dynamics.split_state(state, k)
        i = dynamics.synaptic_current(x, before, k, t)
        u = dynamics.integrate(i, m)
        fired = dynamics.fire(self._compared(u), k)
        return u, fired.to(u.dtype), dynamics.join_state(dynamics.reset(self._carried(u), fired, k), i, k)

    def _compared(self, u: Tensor) -> Tensor:
        """N(u), which is compared with the threshold."""
        return u if self.norm is None else self.norm(u)

    def _carried(self, u: Tensor) -> Tensor:
        """v, of which a part is carried."""
        return self.norm(u) if self.norm is not None and self.norm.carried else u

    @property
    def state_shape(self) -> Shape:
        """The shape of the state of one sample: that of m, or `[2, *shape]` for m and i."""
        return self.shape if self.synaptic_decay is None else (2, *self.shape)

    @property
    def resets(self) -> bool:
        """Whether a spike leaves a trace in the state: a soft reset by nothing does not."""
        return not self.soft or bool(self.reset.any())

    @property
    def never_fires(self) -> bool:
        """Whether no potential reaches the threshold."""
        beyond = math.inf if self.inverted is None else torch.where(self.inverted, -math.inf, math.inf)
        return bool((self.threshold == beyond).all())

    @property
    def per_step(self) -> bool:
        """Whether a constant changes from step to step."""
        return any(value is not None and value.dim() > len(self.shape) + 1 for value in (self.gain, self.offset))

    def to(self, dtype: torch.dtype) -> Neuron:
        """The same neuron with every float constant, norm statistics included, in `dtype`."""
        norm = None if self.norm is None else replace(self.norm, **_floats(self.norm, dtype))
        return replace(self, **_floats(self, dtype), norm=norm)


def lif(
    leak: float | Tensor,
    threshold: float | Tensor,
    v_reset: float | Tensor | None = 0.0,
    strict: bool = True,
    norm: MembraneNorm | None = None,
) -> Neuron:
    """A leaky integrate-and-fire neuron that computes, per time step,

        u = leak * v + x;   s = [N(u) > threshold]  (>= unless strict);   v = v_reset if s, u if not

    or, with `v_reset` None, v = u - threshold * s. Numbers, or tensors that broadcast against `[C, ...]`; they are kept in
    float64, so that nothing is rounded before the network's own precision is known.
    """
    kept, fires = (torch.as_tensor(value, dtype=torch.float64).detach() for value in (leak, threshold))
    after = fires if v_reset is None else torch.as_tensor(v_reset, dtype=torch.float64).detach()
    return Neuron(threshold=fires, leak=kept, reset=kept * after, soft=v_reset is None, strict=strict, norm=norm)


def _floats(value: Neuron | MembraneNorm, dtype: torch.dtype) -> dict[str, Any]:
    return {k: v.to(dtype) for k, v in vars(value).items() if isinstance(v, Tensor) and v.is_floating_point()}


_FORMER_NAMES = {"synaptic_decay": ("synapse",)}
"""What constants are called in files of an older format."""


def pack(value: Neuron | MembraneNorm, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Split a neuron or a norm into plain JSON settings (returned) and tensors (added under `prefix`)."""
    settings: dict[str, Any] = {}
    for f in fields(value):
        item = getattr(value, f.name)
        if isinstance(item, Tensor):
            tensors[f"{prefix}.{f.name}"] = item.contiguous()
        elif isinstance(item, MembraneNorm):
            settings[f.name] = pack(item, f"{prefix}.{f.name}", tensors)
        elif item is not None:
            settings[f.name] = list(item) if isinstance(item, tuple) else item
    return settings


def unpack_norm(settings: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> MembraneNorm:
    """The inverse of `pack` for a membrane norm. Raises KeyError if its statistics are missing."""
    mean, var, gamma, beta = (tensors.get(f"{prefix}.{name}") for name in ("mean", "var", "gamma", "beta"))
    if mean is None or var is None:
        raise KeyError(f"{prefix} has no statistics")
    return MembraneNorm(mean, var, gamma, beta, **settings)


def unpack_neuron(settings: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> Neuron:
    """The inverse of `pack` for a neuron. Raises KeyError if a constant that it must have is missing."""
    rest = dict(settings)
    norm = rest.pop("norm", None)
    rest["shape"] = tuple(rest["shape"])
    named = {f.name: (f.name, *_FORMER_NAMES.get(f.name, ())) for f in fields(Neuron)}
    found: dict[str, Any] = {
        name: tensors[f"{prefix}.{stored}"]
        for name, names in named.items()
        for stored in names
        if f"{prefix}.{stored}" in tensors
    }
    return Neuron(**found, **rest, norm=unpack_norm(norm, f"{prefix}.norm", tensors) if norm else None)


def fitted(neuron: Neuron, shape: tuple[int, ...], name: str) -> Neuron:
    """The neuron with the shape of its potential; constants `[1, C, 1, 1]` with a batch dimension fit as well, and `[C, 1, 1]` a
    potential `[C]`.

    Raises `Refused` if its norm or its constants are of another shape.
    """
    constants: dict[str, Any] = {key: _laid_out(value, shape) for key, value in vars(neuron).items() if isinstance(value, Tensor)}
    held = neuron.norm.mean if neuron.norm is not None else None
    if held is not None and tuple(held.shape) not in (shape, shape[:1]):
        raise Refused(
            f"neuron {name} sees potentials of shape {list(shape)}, but its membrane norm holds {list(held.shape)}",
            "give the input shape it was trained with, by --input-shape C,H,W",
        )
    for constant, value in constants.items():
        if value.dim() > len(shape) or any(a not in (1, b) for a, b in zip(value.shape[::-1], shape[::-1], strict=False)):
            raise Refused(
                f"neuron {name} sees potentials of shape {list(shape)}, but its {constant} is of shape {list(value.shape)}",
                "lay a constant per channel out as [C, 1, 1]",
            )
    return replace(neuron, **constants, shape=shape)


def _laid_out(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`value` without dimensions of size 1 that the potential does not have: that of the batch, and then trailing ones."""
    if value.dim() == len(shape) + 1 and value.shape[0] == 1:
        return value.squeeze(0)
    while value.dim() > len(shape) and value.shape[-1] == 1:
        value = value.squeeze(-1)
    return value


torch.library.define("snnconv::neuron", "(Tensor current, Tensor state, str name) -> (Tensor, Tensor, Tensor)")


@torch.library.register_fake("snnconv::neuron")
def _neuron_shapes(current: Tensor, state: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(current), torch.empty_like(state), torch.empty_like(current)


NEURON_OP = torch.ops.snnconv.neuron.default
"""Marks a neuron in a captured step graph: `(current, state, name) -> (spikes, next state, potential before firing)`. It has no
kernel on purpose: what a neuron does is in the table of the program, and `SpikingProgram` runs it."""
SPIKES, NEXT_STATE, POTENTIAL = range(3)
"""The places of what it gives."""
