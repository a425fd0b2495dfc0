"""The operators of a lowered graph that plain aten lacks, all of them about time, with their torch implementations.

Time is merged into the batch, steps first: `[T * B, ...]`. A format translates these operators and leaves the rest of the
graph to its own exporter; TorchScript compiles the very functions below, so they keep to what `torch.jit` accepts.

`gain` and `offset` of a neuron may have one entry per step, `[T, 1, C, ...]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnconv.ir.neuron import arrive, at_step, carry, charge, compare, packed, unpacked

_CONSTANTS = (
    "Tensor threshold, Tensor? inverted, Tensor? leak, Tensor? shift, Tensor? reset, Tensor? gain, Tensor? offset, "
    "Tensor? synapse, bool strict, bool soft, str name"
)
CONSTANTS = ("threshold", "inverted", "leak", "shift", "reset", "gain", "offset", "synapse")
"""The tensors of a lowered neuron, in the order of the operators' arguments; all but threshold may be absent."""


def fire(
    current: Tensor,
    state: Tensor | None,
    threshold: Tensor,
    inverted: Tensor | None,
    leak: Tensor | None,
    shift: Tensor | None,
    reset: Tensor | None,
    gain: Tensor | None,
    offset: Tensor | None,
    synapse: Tensor | None,
    strict: bool,
    soft: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of a folded neuron: potential and spikes `[B, ...]`, next state, with a synapse `[B, 2, ...]`."""
    m, before = unpacked(state, synapse)
    i = arrive(current, gain, offset, synapse, before)
    u = charge(i, m)
    fired = compare(u, threshold, strict, inverted)
    return u, fired.to(u.dtype), packed(carry(u, fired, leak, shift, reset, soft), i, synapse)


def fire_over_time(
    current: Tensor,
    threshold: Tensor,
    inverted: Tensor | None,
    leak: Tensor | None,
    shift: Tensor | None,
    reset: Tensor | None,
    gain: Tensor | None,
    offset: Tensor | None,
    synapse: Tensor | None,
    strict: bool,
    soft: bool,
    timesteps: int,
    constant: bool,
    potentials: list[Tensor],
) -> Tensor:
    """All steps of a folded neuron from a fresh state: its spikes `[T * B, ...]`.

    `constant` says that `current` is `[B, ...]`, the same at every step; otherwise it is `[T * B, ...]`. The potential `[B, ...]`
    of each step is added to `potentials`.
    """
    batch = current.shape[0] if constant else current.shape[0] // timesteps
    spikes: list[Tensor] = []
    state: Tensor | None = None
    for t in range(timesteps):
        now = current if constant else current.narrow(0, t * batch, batch)
        g, c = at_step(gain, t, current.dim()), at_step(offset, t, current.dim())
        u, s, state = fire(now, state, threshold, inverted, leak, shift, reset, g, c, synapse, strict, soft)
        potentials.append(u)
        spikes.append(s)
    return torch.cat(spikes)


def merge_time(x: Tensor) -> Tensor:
    """Frames `[B, T, ...]` as `[T * B, ...]`."""
    return x.transpose(0, 1).flatten(0, 1)


def repeat_time(x: Tensor, timesteps: int) -> Tensor:
    """The same `[B, ...]` at every step, as `[T * B, ...]`."""
    return torch.cat([x] * timesteps)


def each_step(constant: Tensor, x: Tensor, timesteps: int) -> Tensor:
    """A constant per step `[T, 1, C, ...]` beside the steps of `x` `[B, ...]`: `[T * B, C, ...]`."""
    if timesteps > constant.shape[0]:
        raise RuntimeError(f"constants per step for {constant.shape[0]} time steps, not for {timesteps}")
    return constant[:timesteps].repeat_interleave(x.shape[0], 1).flatten(0, 1)


def reduce_time(x: Tensor, readout: str, timesteps: int) -> Tensor:
    """Read out `[T * B, ...]` as `[B, ...]` (mean, sum, last) or `[B, T, ...]` (none)."""
    steps = x.unflatten(0, [timesteps, -1])
    if readout == "mean":
        return steps.mean(0)
    if readout == "sum":
        return steps.sum(0)
    if readout == "last":
        return steps[timesteps - 1]
    return steps.transpose(0, 1)


torch.library.define("snnconv::fire", f"(Tensor current, Tensor state, {_CONSTANTS}) -> (Tensor, Tensor)")
torch.library.define("snnconv::fire_over_time", f"(Tensor current, {_CONSTANTS}, int timesteps, bool constant) -> Tensor")
torch.library.define("snnconv::merge_time", "(Tensor x) -> Tensor")
torch.library.define("snnconv::repeat_time", "(Tensor x, int timesteps) -> Tensor")
torch.library.define("snnconv::each_step", "(Tensor constant, Tensor x, int timesteps) -> Tensor")
torch.library.define("snnconv::reduce_time", "(Tensor x, str readout, int timesteps) -> Tensor")

FIRE = torch.ops.snnconv.fire.default
FIRE_OVER_TIME = torch.ops.snnconv.fire_over_time.default
MERGE_TIME = torch.ops.snnconv.merge_time.default
REPEAT_TIME = torch.ops.snnconv.repeat_time.default
EACH_STEP = torch.ops.snnconv.each_step.default
REDUCE_TIME = torch.ops.snnconv.reduce_time.default


@torch.library.register_fake("snnconv::fire")
def _(current, state, *constants):
    return torch.empty_like(current), torch.empty_like(state)


@torch.library.register_fake("snnconv::fire_over_time")
def _(current, *constants):
    *_, timesteps, constant = constants
    return current.new_empty(current.shape[0] * (timesteps if constant else 1), *current.shape[1:])


@torch.library.register_fake("snnconv::merge_time")
def _(x):
    return x.new_empty(x.shape[0] * x.shape[1], *x.shape[2:])


@torch.library.register_fake("snnconv::repeat_time")
def _(x, timesteps):
    return x.new_empty(x.shape[0] * timesteps, *x.shape[1:])


@torch.library.register_fake("snnconv::each_step")
def _(constant, x, timesteps):
    return constant.new_empty(timesteps * x.shape[0], *constant.shape[2:])


@torch.library.register_fake("snnconv::reduce_time")
def _(x, readout, timesteps):
    batch, rest = x.shape[0] // timesteps, x.shape[1:]
    return x.new_empty(batch, timesteps, *rest) if readout == "none" else x.new_empty(batch, *rest)
