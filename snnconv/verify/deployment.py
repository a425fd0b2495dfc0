"""Level 3: the artifact in its engine, on data, judged neuron by neuron and step by step.

The source runs by its own code, and its current into each neuron is added to the candidate's own state. As long as both spike
alike, one run of the source serves as the reference of both the network and each of its layers. From the first spike that
differs, a sample is judged in a second run, in which the candidate's spikes stand in for the source's: an early flip is counted
where it happens and not again downstream. `snnconv.verify.layers` judges a potential and its spike.

A network that computes with potentials, or with memories of its own, would go on with those, which rounding moves further each
step. There each step is judged on what the candidate's step found, and on its potentials and spikes, by the program captured from
the source, and the source's own run is held against the output: where both spike alike, it may lie as far from the candidate's as
the source's own rounding, measured against float64, allows; and a spike in which it differs first must lie on its threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from snnconv.engines import Observation
from snnconv.ir.program import Driven, SpikingProgram
from snnconv.ir.time import Outputs, frames, read_out
from snnconv.results import Difference, LayerTally
from snnconv.sources import Source
from snnconv.user_code import UserCodeError
from snnconv.verify import masks
from snnconv.verify.divergence import Divergence, Timeline
from snnconv.verify.layers import Bounds, Layers
from snnconv.verify.measured import FACTOR
from snnconv.verify.reference import Reference
from snnconv.verify.rounding import Magnitudes, bound
from snnconv.verify.running import check_output_shapes, check_shapes

_RASTER_NEURONS = 32


@dataclass
class Compared:
    """One chunk of samples, compared.

    Attributes:
        layers: a tally per layer, those of the outputs last.
        reference, candidate: the outputs of both, each `[B, K]` or `[B, T, K]`, each side running by itself.
        output_bounds: how far rounding may move each value of every output.
        explained: marks the samples `[B]` on which spikes differ, but every flip is within its rounding bound and nothing else is
            wrong.
        show: runs the source once more for the first difference.
        nearest: per layer the smallest distance of a potential from its threshold, in units in the last place of the threshold,
            if it was asked for.
    """

    layers: list[LayerTally]
    reference: Outputs
    candidate: Outputs
    output_bounds: Outputs
    explained: Tensor
    show: Callable[[], Difference | None]
    nearest: dict[str, float | None] = field(default_factory=dict)

    @cached_property
    def difference(self) -> Difference | None:
        """The first spike that differs, if one does."""
        return self.show()


def compare_layers(reference: Reference, x: Tensor, seen: Observation, start: int = 0, nearest: bool = False) -> Compared:
    """Compare one observed run on `x` `[B, ...]` with the source's.

    Args:
        start: the number of the first sample.
        nearest: whether to measure distances from thresholds.

    Raises `ShapeMismatch`.
    """
    source = reference.source
    check_shapes(source.program, len(x), seen)
    with torch.no_grad():
        bounds = _bounds(source.program, x, seen, reference.magnitudes)
        divergence = Divergence(len(x))
        layers = Layers(source.program, reference.folded, seen, bounds, divergence, start, nearest)
        timeline, forced = Timeline(source.program.neurons), source.program.remembers
        own = source.outputs(x, partial(_free, layers, divergence, timeline, not forced))
        check_output_shapes(source.program, own, seen)
        if forced:
            drive = partial(_forced, layers, divergence, Timeline(source.program.neurons))
            expected = source.program.outputs(x, drive=drive, recall=partial(_recalled, layers))
            layers.judge_outputs(expected, _strays(reference, x, seen, own, bounds.outputs, divergence))
        else:
            layers.judge_outputs(_expected(source, x, own, layers, divergence))
    show = partial(_difference, source, x, seen, divergence, timeline, start)
    return Compared(layers.tallies(), own, seen.outputs, bounds.outputs, divergence.explained(), show, layers.nearest)


def _expected(source: Source, x: Tensor, own: Outputs, layers: Layers, divergence: Divergence) -> Outputs:
    """The source's outputs given the candidate's spikes: its `own`, but for the samples that diverged, which are judged here."""
    rows = divergence.rows()
    if not len(rows):
        return own
    driven = source.outputs(x[rows], partial(_driven, layers, divergence, Timeline(source.program.neurons), rows))
    return tuple(y.index_copy(0, rows, other) for y, other in zip(own, driven, strict=True))


def _strays(
    reference: Reference, x: Tensor, seen: Observation, own: Outputs, allowed: Outputs, divergence: Divergence
) -> Outputs | None:
    """Where the candidate's outputs are not those of the source's `own` run, on the samples on which both spike alike.

    None if the source does not run in float64: then nobody knows how far rounding moves it.
    """
    steps = dict.fromkeys(seen.spikes, 0)

    def drive(name: str, current: Tensor, spikes: Tensor) -> Driven | None:
        steps[name] += 1
        at = steps[name] - 1
        if not seen.shows(name, at):
            return None
        return Driven(seen.spikes[name][at].to(current.dtype), seen.potentials[name][at].to(current.dtype))

    try:
        exact = reference.source64.outputs(x.double(), drive)
    except UserCodeError:
        return None
    alike = torch.ones(len(x), dtype=torch.bool)
    alike[divergence.rows()] = False
    return tuple(_straying(*each, alike) for each in zip(seen.outputs, own, exact, allowed, strict=True))


def _straying(found: Tensor, own: Tensor, exact: Tensor, allowed: Tensor, alike: Tensor) -> Tensor:
    """Where one output strays: further than is `allowed`, and than the source's own rounding can have moved it."""
    rounded = (own.double() - exact).abs()[alike]
    moved = float(rounded.max()) if rounded.numel() else 0.0
    strays = ~((found - own).abs() <= allowed + FACTOR * moved)
    return strays & alike.view(-1, *[1] * (own.dim() - 1))


def _free(
    layers: Layers, divergence: Divergence, timeline: Timeline, judges: bool, name: str, current: Tensor, spikes: Tensor
) -> None:
    """Sees the source's own run: judges the samples that have not diverged, unless told not to, and notes those that do here."""
    step, arrived = timeline.call(name, current)
    if not layers.seen.shows(name, step):
        return
    fired, reference = masks.as_mask(layers.seen.spikes[name][step]), masks.as_mask(spikes)
    unlike = reference ^ fired
    differs = masks.count(unlike)
    rows = divergence.together()
    if judges:
        layers.judge(name, step, rows, masks.take(arrived, rows), unlike if differs else None)
    layers.count(name, fired, reference if differs else fired)
    if differs:
        divergence.note(unlike, timeline.last, timeline.calls[-1])


def _driven(
    layers: Layers, divergence: Divergence, timeline: Timeline, rows: Tensor, name: str, current: Tensor, spikes: Tensor
) -> Driven:
    """Drives the source with the candidate's spikes on `rows`, and judges what comes after each of them diverged."""
    step, arrived = timeline.call(name, current)
    late = divergence.before(timeline.last, rows)
    if len(late):
        layers.judge(name, step, rows[late], arrived[late], None, driven=True)
    return Driven(layers.seen.spikes[name][step][rows].to(spikes.dtype), layers.seen.potentials[name][step][rows])


def _forced(
    layers: Layers, divergence: Divergence, timeline: Timeline, name: str, current: Tensor, spikes: Tensor
) -> Driven | None:
    """Gives a program the candidate's potentials and spikes, and judges them, with the spikes in which the source's own run
    differs here first."""
    step, arrived = timeline.call(name, current)
    if not layers.seen.shows(name, step):
        return None
    fired = layers.seen.spikes[name][step]
    layers.judge(name, step, None, arrived, None, driven=True, own=divergence.first(timeline.calls[-1]))
    return Driven(fired.to(spikes.dtype), layers.seen.potentials[name][step])


def _recalled(layers: Layers, name: str, step: int, value: Tensor) -> Tensor:
    """Gives a program what the candidate's step finds in a memory, and judges it: the program itself would find `value`.

    Where the candidate leaves out what no later step reads, the program goes on with its own.
    """
    if step >= len(layers.seen.memories[name]):
        return value
    layers.judge_memory(name, step, value)
    return layers.seen.memories[name][step]


def _difference(
    source: Source, x: Tensor, seen: Observation, divergence: Divergence, timeline: Timeline, start: int
) -> Difference | None:
    """The earliest sample that diverged, at which step and layer, and the spikes of some neurons around."""
    diverged = divergence.rows()
    if not len(diverged):
        return None
    row = int(diverged.min())
    step, layer = timeline.calls[int(divergence.at[row])]
    reference: list[Tensor] = []

    def keep(name: str, current: Tensor, spikes: Tensor) -> None:
        if name == layer:
            reference.append(spikes[0].flatten() > 0)

    source.run(x[row : row + 1], keep)
    candidate = [masks.as_mask(spikes[row]).flatten() for spikes in seen.spikes[layer]]
    unlike = (reference[step] ^ candidate[step]).nonzero().flatten()
    neuron = int(unlike[0]) if len(unlike) else 0
    low = max(0, min(neuron - _RASTER_NEURONS // 2, candidate[0].numel() - _RASTER_NEURONS))
    shown = range(low, min(low + _RASTER_NEURONS, candidate[0].numel()))
    strings = [tuple("".join(str(int(fired[i])) for i in shown) for fired in side) for side in (reference, candidate)]
    return Difference(start + row, step, layer, neuron, tuple(shown), *strings)


def _bounds(program: SpikingProgram, x: Tensor, seen: Observation, magnitudes: Magnitudes) -> Bounds:
    """How far rounding may move the current into each neuron at any step, and each output."""
    contract = program.contract
    magnitudes.measure(list(frames(x, contract.timesteps, contract.event)), seen.spikes, seen.potentials, seen.memories)
    allowed, terms = {}, dict(magnitudes.terms)
    allowed.update({name: bound(magnitude, terms[name]) for name, magnitude in magnitudes.left.items()})
    for name, neuron in program.neurons.items():
        magnitude = magnitudes.current[name]
        if neuron.gain is not None:
            magnitude = magnitude * _largest_over_time(neuron.gain, magnitude.dim())
        if neuron.offset is not None:
            magnitude = magnitude + _largest_over_time(neuron.offset, magnitude.dim())
        if neuron.synaptic_decay is not None:
            terms[name] += 2 * contract.timesteps
            magnitude = magnitude * sum(neuron.synaptic_decay.abs() ** k for k in range(contract.timesteps))
        allowed[name] = bound(magnitude, terms[name])
    each = zip(magnitudes.outputs, magnitudes.output_terms, contract.readouts.values(), strict=True)
    outputs = tuple(
        bound(read_out([magnitude] * contract.timesteps, readout), count + contract.timesteps)
        for magnitude, count, readout in each
    )
    return Bounds(allowed, terms, magnitudes.measured, outputs, magnitudes.measured_outputs)


def _largest_over_time(constant: Tensor, dims: int) -> Tensor:
    """The magnitude of a constant, at its largest where it changes from step to step."""
    return constant.abs().amax(0) if constant.dim() > dims else constant.abs()
