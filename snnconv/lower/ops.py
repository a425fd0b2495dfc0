"""The operators of a lowered graph that plain aten lacks, all of them about time, with their torch implementations.

Time is merged into the batch, steps first: `[T * B, ...]`. A format translates these operators and leaves the rest of the
graph to its own exporter; TorchScript compiles the very functions below, so they keep to what `torch.jit` accepts.

The constants of a neuron are one argument, a list of the tensors of `NeuronConstants` in their order, followed by its flags;
`neuron_constants` makes of them the value that the functions take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from snnconv.ir.dynamics import NeuronConstants, neuron_step
from snnconv.ir.over_batch import OVER_BATCH, over_batch

CONSTANTS = tuple(name for name in NeuronConstants._fields if name not in ("strict", "soft"))
"""The tensors of a lowered neuron, in the order of the operators' argument; any may be absent."""


def neuron_constants(tensors: Sequence[Any], strict: bool, soft: bool) -> NeuronConstants:
    """The constants in an operator's arguments as one value. Raises ValueError unless they are as many as there must be."""
    return NeuronConstants(**dict(zip(CONSTANTS, tensors, strict=True)), strict=strict, soft=soft)


def neuron_over_time(x: Tensor, k: NeuronConstants, timesteps: int, still: bool, potentials: list[Tensor]) -> Tensor:
    """All steps of a folded neuron from a fresh state: its spikes `[T * B, ...]`.

    The input `x` is `[T * B, ...]`, or `[B, ...]` if it is `still`, the same at every step. The potential `[B, ...]` of each step
    is added to `potentials`.
    """
    batch = x.shape[0] if still else x.shape[0] // timesteps
    spikes: list[Tensor] = []
    state: Tensor | None = None
    for t in range(timesteps):
        now = x if still else x.narrow(0, t * batch, batch)
        u, s, state = neuron_step(now, state, k, t)
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


def step_of(x: Tensor, dim: int, step: int, timesteps: int) -> Tensor:
    """One step of a value with time merged into dimension `dim`, which holds the batch."""
    size = x.shape[dim] // timesteps
    return x.narrow(dim, step * size, size)


def zeros_for(x: Tensor, shape: list[int]) -> Tensor:
    """Zeros `[B, *shape]` for the samples of `x` `[B, ...]`."""
    # torch.jit does not know [batch, *shape].
    return x.new_zeros([x.shape[0]] + shape)  # noqa: RUF005


def recalled(value: Tensor, name: str) -> Tensor:
    """What a step finds in the memory `name`, as it is."""
    return value


def reduce_time(x: Tensor, readout: str, timesteps: int) -> Tensor:
    """Read out `[T * B, ...]` as `[B, ...]` (mean, sum, last, max) or `[B, T, ...]` (none)."""
    steps = x.unflatten(0, [timesteps, -1])
    if readout == "mean":
        return steps.mean(0)
    if readout == "sum":
        return steps.sum(0)
    if readout == "last":
        return steps[timesteps - 1]
    if readout == "max":
        return steps.amax(0)
    return steps.transpose(0, 1)


_NEURON = "Tensor?[] constants, bool strict, bool soft, str name"

torch.library.define("snnconv::neuron_step", f"(Tensor x, Tensor state, {_NEURON}) -> (Tensor, Tensor, Tensor)")
torch.library.define("snnconv::neuron_over_time", f"(Tensor x, {_NEURON}, int timesteps, bool still) -> Tensor")
torch.library.define("snnconv::neuron_read_over_time", f"(Tensor x, {_NEURON}, int timesteps, bool still) -> (Tensor, Tensor)")
torch.library.define("snnconv::merge_time", "(Tensor x) -> Tensor")
torch.library.define("snnconv::repeat_time", "(Tensor x, int timesteps) -> Tensor")
torch.library.define("snnconv::each_step", "(Tensor constant, Tensor x, int timesteps) -> Tensor")
torch.library.define("snnconv::step_of", "(Tensor x, int dim, int step, int timesteps) -> Tensor")
torch.library.define("snnconv::zeros_for", "(Tensor x, int[] shape) -> Tensor")
torch.library.define("snnconv::recalled", "(Tensor value, str name) -> Tensor")
torch.library.define("snnconv::reduce_time", "(Tensor x, str readout, int timesteps) -> Tensor")

NEURON_STEP = torch.ops.snnconv.neuron_step.default
"""One step of a neuron: spikes, next state and potential before firing; `snnconv.ir.dynamics.neuron_step` computes it."""
NEURON_OVER_TIME = torch.ops.snnconv.neuron_over_time.default
"""All steps of a neuron: spikes `[T * B, ...]`; `neuron_over_time` computes them."""
NEURON_READ_OVER_TIME = torch.ops.snnconv.neuron_read_over_time.default
"""The same for a neuron whose potential is read: spikes and potentials before firing `[T * B, ...]`."""
NEURONS_OVER_TIME = (NEURON_OVER_TIME, NEURON_READ_OVER_TIME)
MERGE_TIME = torch.ops.snnconv.merge_time.default
REPEAT_TIME = torch.ops.snnconv.repeat_time.default
EACH_STEP = torch.ops.snnconv.each_step.default
STEP_OF = torch.ops.snnconv.step_of.default
ZEROS_FOR = torch.ops.snnconv.zeros_for.default
RECALLED = torch.ops.snnconv.recalled.default
REDUCE_TIME = torch.ops.snnconv.reduce_time.default

FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    MERGE_TIME: merge_time,
    REPEAT_TIME: repeat_time,
    EACH_STEP: each_step,
    REDUCE_TIME: reduce_time,
    STEP_OF: step_of,
    ZEROS_FOR: zeros_for,
    RECALLED: recalled,
    OVER_BATCH: over_batch,
}
"""What computes each operator that is not a neuron."""

Tensors = list[Tensor | None]


@torch.library.register_fake("snnconv::neuron_step")
def _(x: Tensor, state: Tensor, constants: Tensors, strict: bool, soft: bool, name: str) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(state), torch.empty_like(x)


@torch.library.register_fake("snnconv::neuron_over_time")
def _(x: Tensor, constants: Tensors, strict: bool, soft: bool, name: str, timesteps: int, still: bool) -> Tensor:
    return x.new_empty(x.shape[0] * (timesteps if still else 1), *x.shape[1:])


@torch.library.register_fake("snnconv::neuron_read_over_time")
def _(x: Tensor, constants: Tensors, strict: bool, soft: bool, name: str, timesteps: int, still: bool) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0] * (timesteps if still else 1), *x.shape[1:])
    return x.new_empty(shape), x.new_empty(shape)


@torch.library.register_fake("snnconv::merge_time")
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0] * x.shape[1], *x.shape[2:])


@torch.library.register_fake("snnconv::repeat_time")
def _(x: Tensor, timesteps: int) -> Tensor:
    return x.new_empty(x.shape[0] * timesteps, *x.shape[1:])


@torch.library.register_fake("snnconv::each_step")
def _(constant: Tensor, x: Tensor, timesteps: int) -> Tensor:
    return constant.new_empty(timesteps * x.shape[0], *constant.shape[2:])


@torch.library.register_fake("snnconv::step_of")
def _(x: Tensor, dim: int, step: int, timesteps: int) -> Tensor:
    sizes = list(x.shape)
    sizes[dim] = sizes[dim] // timesteps
    return x.new_empty(sizes)


@torch.library.register_fake("snnconv::zeros_for")
def _(x: Tensor, shape: list[int]) -> Tensor:
    return x.new_empty(x.shape[0], *shape)


@torch.library.register_fake("snnconv::recalled")
def _(value: Tensor, name: str) -> Tensor:
    return torch.empty_like(value)


@torch.library.register_fake("snnconv::reduce_time")
def _(x: Tensor, readout: str, timesteps: int) -> Tensor:
    batch, rest = x.shape[0] // timesteps, x.shape[1:]
    return x.new_empty(batch, timesteps, *rest) if readout == "none" else x.new_empty(batch, *rest)
