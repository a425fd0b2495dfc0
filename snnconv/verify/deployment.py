"""Level 3: the artifact in its runtime, on data, judged neuron by neuron and step by step.

The source runs by its own code, and its current into each neuron is added to the candidate's own state. As long as both spike
alike, one run of the source serves as the reference of both the network and each of its layers. From the first spike that
differs, a sample is judged in a second run, in which the candidate's spikes stand in for the source's: an early flip is counted
where it happens and not again downstream. Three questions per potential:

    outside      is it further from the source's than the rounding bound of that sum?
    inconsistent    is the spike what the folded threshold says about the candidate's own potential? (no rounding is involved)
    flip         does the source decide otherwise? explained where the potential is within the bound of the threshold
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce

import torch
from torch import Tensor

from snnconv.engines import Candidate, Observation
from snnconv.ir.neuron import Neuron, charge
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import read_out
from snnconv.results import Difference, LayerTally
from snnconv.results.verdict import OUTPUT
from snnconv.sources import Source
from snnconv.verify import masks
from snnconv.verify.rounding import Magnitudes, allowance, bound

_RASTER_NEURONS = 32
_NEVER = torch.iinfo(torch.int64).max


class ShapeMismatch(Exception):
    """A layer of the candidate has values of another shape than the source's."""

    def __init__(self, name: str, seen: tuple[int, ...] | str, expected: tuple[int, ...] | str) -> None:
        found, wanted = (text if isinstance(text, str) else str(list(text)) for text in (seen, expected))
        super().__init__(f"{name}: values are {found}, not {wanted}")
        self.name = name


@dataclass
class Judged:
    """One chunk of samples: a tally per layer, the output's last; the outputs of both, free-running.

    `output_bound` is how far rounding may move each value of the output. `explained` marks the samples `[B]` on which spikes
    differ, but every flip is within its rounding bound and nothing else is wrong. `nearest` is per layer the smallest distance of
    a potential from its threshold, in units in the last place of the threshold, where it was asked for. `show` runs the source
    once more for the first difference.
    """

    layers: list[LayerTally]
    reference: Tensor
    candidate: Tensor
    output_bound: Tensor
    explained: Tensor
    show: Callable[[], Difference | None]
    nearest: dict[str, float | None] = field(default_factory=dict)

    @cached_property
    def difference(self) -> Difference | None:
        """The first spike that differs, if one does."""
        return self.show()


def observe(candidate: Candidate, x: Tensor) -> Observation:
    """Observe `candidate` on `x` `[B, ...]`; an artifact of a fixed batch runs several times, the last filled up."""
    if candidate.batch is None:
        return candidate.observe(x)
    parts = [candidate.observe(part) for part in _batches(x, candidate.batch)]
    joined = [
        {
            name: [torch.cat(step)[: len(x)] for step in zip(*(getattr(p, kind)[name] for p in parts), strict=True)]
            for name in names
        }
        for kind, names in (("potentials", parts[0].potentials), ("spikes", parts[0].spikes))
    ]
    return Observation(torch.cat([part.y for part in parts])[: len(x)], *joined)


def run_bare(candidate: Candidate, x: Tensor) -> Tensor:
    """The artifact's output on `x` as a device would run it, unwatched."""
    if candidate.batch is None:
        return candidate.run(x)
    return torch.cat([candidate.run(part) for part in _batches(x, candidate.batch)])[: len(x)]


def _batches(x: Tensor, size: int) -> list[Tensor]:
    parts = list(x.split(size))
    missing = size - len(parts[-1])
    if missing:
        parts[-1] = torch.cat([parts[-1], x[:1].expand(missing, *x.shape[1:])])
    return parts


def judge(
    source: Source,
    folded: SpikingProgram,
    x: Tensor,
    seen: Observation,
    start: int = 0,
    nearest: bool = False,
    magnitudes: Magnitudes | None = None,
) -> Judged:
    """Judge one observed run on `x`, whose first sample is number `start`; `nearest` also measures distances from thresholds.

    `magnitudes` of the source can be given to be used again. Raises `ShapeMismatch`.
    """
    check_shapes(source.program, len(x), seen)
    with torch.no_grad():
        judging = _Judge(source.program, folded, x, seen, start, nearest, magnitudes or Magnitudes(source.program))
        reference = source.run(x, judging.free)
        if seen.y.shape != reference.shape:
            raise ShapeMismatch(OUTPUT, tuple(seen.y.shape), tuple(reference.shape))
        expected = reference
        rows = judging.diverged()
        if len(rows):
            expected = reference.clone()
            expected[rows] = source.run(x[rows], judging.driven(rows))
        judging.output(expected)
    show = partial(judging.difference, source)
    return Judged(judging.tallies(), reference, seen.y, judging.allowed[OUTPUT], judging.explained(), show, judging.nearest)


def check_shapes(program: SpikingProgram, batch: int, seen: Observation) -> None:
    """Raise `ShapeMismatch` unless every neuron was seen at every step, on `batch` samples."""
    steps = program.contract.timesteps
    for name, neuron in program.neurons.items():
        expected = (batch, *neuron.shape)
        for values in (seen.potentials.get(name, []), seen.spikes.get(name, [])):
            unlike = [tuple(step.shape) for step in values if tuple(step.shape) != expected]
            if unlike:
                raise ShapeMismatch(name, unlike[0], expected)
            if len(values) != steps:
                raise ShapeMismatch(name, f"of {len(values)} steps", f"of {steps}")


def _allowances(
    program: SpikingProgram, x: Tensor, seen: Observation, magnitudes: Magnitudes
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Per neuron and for the output: how far rounding may move the current, and the number of roundings.

    One bound serves all steps: inputs and spikes are taken at their largest over time, which never makes it smaller.
    """
    contract = program.contract
    ever = {name: reduce(torch.logical_or, map(masks.as_mask, spikes)).to(x.dtype) for name, spikes in seen.spikes.items()}
    magnitudes.measure(x.abs().amax(1) if contract.event else x, ever)
    allowed, terms = {}, {**magnitudes.terms, OUTPUT: magnitudes.terms[""] + contract.timesteps}
    for name, neuron in program.neurons.items():
        magnitude = magnitudes.current[name]
        if neuron.gain is not None:
            magnitude = magnitude * _largest_over_time(neuron.gain, magnitude.dim())
        if neuron.offset is not None:
            magnitude = magnitude + _largest_over_time(neuron.offset, magnitude.dim())
        if neuron.synapse is not None:
            terms[name] += 2 * contract.timesteps
            magnitude = magnitude * sum(neuron.synapse.abs() ** k for k in range(contract.timesteps))
        allowed[name] = bound(magnitude, terms[name])
    allowed[OUTPUT] = bound(read_out([magnitudes.current[""]] * contract.timesteps, contract.readout), terms[OUTPUT])
    return allowed, terms


@dataclass
class _Common:
    """The part of a layer's tally that every step adds to."""

    values: int = 0
    spikes_reference: int = 0
    spikes_candidate: int = 0
    worst: float | None = 0.0


class _Judge:
    """Sees the source's current into every neuron at every step, in the order in which they run."""

    def __init__(
        self,
        program: SpikingProgram,
        folded: SpikingProgram,
        x: Tensor,
        seen: Observation,
        start: int,
        nearest: bool,
        magnitudes: Magnitudes,
    ) -> None:
        self.program, self.folded, self.x, self.seen, self.start = program, folded, x, seen, start
        self.wants_nearest = nearest
        self.nearest: dict[str, float | None] = {}
        self.allowed, self.terms = _allowances(program, x, seen, magnitudes)
        self.common = {name: _Common() for name in program.neurons}
        self.found = {name: LayerTally(name) for name in program.neurons}
        self.comparators = {name: neuron.comparator() for name, neuron in folded.neurons.items()}
        self.calls: list[tuple[int, str]] = []
        self.arrived: dict[str, Tensor] = {}
        self.diverged_at = torch.full((len(x),), _NEVER)
        self.some_diverged = False
        self.faulty = torch.zeros(len(x), dtype=torch.bool)

    def free(self, name: str, current: Tensor, spikes: Tensor) -> None:
        """The source's own run: judges the samples that have not diverged, and notes those that do here."""
        step = self._call(name)
        current = self._arrived(name, current, step)
        fired, reference = masks.as_mask(self.seen.spikes[name][step]), masks.as_mask(spikes)
        unlike = reference ^ fired
        differs = masks.count(unlike)
        rows = None if not self.some_diverged else (self.diverged_at == _NEVER).nonzero().flatten()
        self._judge(name, step, rows, masks.take(current, rows), unlike if differs else None)
        common, count = self.common[name], masks.count(fired)
        common.values += fired.numel()
        common.spikes_candidate += count
        common.spikes_reference += masks.count(reference) if differs else count
        if differs:
            self.some_diverged = True
            self.diverged_at[unlike.flatten(1).any(1) & (self.diverged_at == _NEVER)] = len(self.calls) - 1

    def diverged(self) -> Tensor:
        """The samples on which the two do not spike alike throughout."""
        return (self.diverged_at != _NEVER).nonzero().flatten()

    def explained(self) -> Tensor:
        """The samples `[B]` that diverged, and on which nothing but flips within their rounding bound was seen."""
        return (self.diverged_at != _NEVER) & ~self.faulty

    def driven(self, rows: Tensor) -> Callable[[str, Tensor, Tensor], Tensor]:
        """Drives the source with the candidate's spikes on `rows`, and judges what comes after each of them diverged."""
        self.calls, self.arrived = [], {}

        def drive(name: str, current: Tensor, spikes: Tensor) -> Tensor:
            step = self._call(name)
            current = self._arrived(name, current, step)
            late = (self.diverged_at[rows] < len(self.calls) - 1).nonzero().flatten()
            if len(late):
                self._judge(name, step, rows[late], current[late], None, driven=True)
            return self.seen.spikes[name][step][rows].to(spikes.dtype)

        return drive

    def output(self, expected: Tensor) -> None:
        """Judge the output, given the candidate's spikes."""
        allowed = self.allowed[OUTPUT]
        error = (self.seen.y - expected).abs()
        outside = ~(error <= allowed)
        self.faulty |= outside.flatten(1).any(1)
        self.found[OUTPUT] = LayerTally(
            OUTPUT,
            values=error.numel(),
            outside=int(outside.sum()),
            worst=masks.finite(float((error / allowed).max())),
            first=(self.start + int(outside.nonzero()[0][0]), 0) if bool(outside.any()) else None,
        )

    def tallies(self) -> list[LayerTally]:
        """One per layer, in the order of the network."""
        return [found + LayerTally(name, **vars(self.common.get(name, _Common()))) for name, found in self.found.items()]

    def difference(self, source: Source) -> Difference | None:
        """The earliest sample that diverged, where it did, and the spikes of some neurons around."""
        diverged = self.diverged()
        if not len(diverged):
            return None
        row = int(diverged.min())
        step, layer = self.calls[int(self.diverged_at[row])]
        reference: list[Tensor] = []

        def keep(name: str, current: Tensor, spikes: Tensor) -> None:
            if name == layer:
                reference.append(spikes[0].flatten() > 0)

        source.run(self.x[row : row + 1], keep)
        candidate = [masks.as_mask(spikes[row]).flatten() for spikes in self.seen.spikes[layer]]
        unlike = (reference[step] ^ candidate[step]).nonzero().flatten()
        neuron = int(unlike[0]) if len(unlike) else 0
        low = max(0, min(neuron - _RASTER_NEURONS // 2, candidate[0].numel() - _RASTER_NEURONS))
        shown = range(low, min(low + _RASTER_NEURONS, candidate[0].numel()))
        strings = [tuple("".join(str(int(fired[i])) for i in shown) for fired in side) for side in (reference, candidate)]
        return Difference(self.start + row, step, layer, neuron, tuple(shown), *strings)

    def _call(self, name: str) -> int:
        """The step at which `name` runs now."""
        step = sum(called == name for _, called in self.calls)
        self.calls.append((step, name))
        return step

    def _arrived(self, name: str, current: Tensor, step: int) -> Tensor:
        """What arrives at the membranes of `name`, synaptic currents included."""
        neuron = self.program.neurons[name]
        arrived = neuron.arrive(current, self.arrived.get(name), step)
        if neuron.synapse is not None:
            self.arrived[name] = arrived
        return arrived

    def _judge(
        self, name: str, step: int, rows: Tensor | None, arrived: Tensor, unlike: Tensor | None, driven: bool = False
    ) -> None:
        """Judge the `rows` (None: all) of one neuron at one step, given what arrives at them in the source.

        `unlike` marks, on all rows, the spikes in which the free-running source differs; a driven source is asked anew.
        """
        neuron, plain, common = self.program.neurons[name], self.folded.neurons[name], self.common[name]
        u, spikes = (masks.take(kind[name][step], rows) for kind in (self.seen.potentials, self.seen.spikes))
        fired = masks.as_mask(spikes)
        expected, allowed = self._expected(name, step, rows, arrived)
        error = (u - expected).div_(allowed)
        worst = masks.finite(masks.largest(error)) if len(u) else 0.0
        common.worst = None if worst is None or common.worst is None else max(worst, common.worst)
        outside = None if worst is not None and worst <= 1 else ~(error.abs_() <= 1)
        inconsistent = masks.decide(plain.strict, *self.comparators[name], u) ^ fired
        if spikes.dtype is not torch.bool:
            inconsistent |= spikes != fired.to(spikes.dtype)
        wrong = masks.count(inconsistent)
        flips = unexplained = beyond = margin = None
        if driven or unlike is not None:
            decided = neuron.fires(expected)
            flips = decided ^ fired if unlike is None else masks.take(unlike, rows)
            margin = (expected - plain.threshold).abs_() / allowed
            beyond = flips & ~(margin <= 1)
            unexplained = beyond & (decided ^ fired)
        found = LayerTally(
            name,
            explained=masks.count(flips) - masks.count(unexplained),
            unexplained=masks.count(unexplained),
            outside=masks.count(outside),
            inconsistent=wrong,
            margins=() if driven else masks.histogram(((expected[:1] - plain.threshold).abs_() / allowed[:1]).flatten()),
            flips=() if margin is None or flips is None else masks.histogram(margin[flips]),
        )
        self._blame(rows, outside, inconsistent if wrong else None, beyond)
        if not found.sound:
            faults = [mask for mask in (outside, inconsistent, unexplained) if mask is not None]
            row = int(torch.stack(faults).any(0).flatten(1).any(1).nonzero()[0])
            found = replace(found, first=(self.start + (row if rows is None else int(rows[row])), step))
        self.found[name] += found
        if self.wants_nearest:
            self._measure_nearest(name, u, plain)

    def _expected(self, name: str, step: int, rows: Tensor | None, arrived: Tensor) -> tuple[Tensor, Tensor]:
        """The potentials to expect of `rows` given the artifact's own state, and how far rounding may move each of them."""
        neuron, allowed = self.program.neurons[name], masks.take(self.allowed[name], rows)
        if not step:
            return charge(arrived, None), allowed
        before = [masks.take(kind[name][step - 1], rows) for kind in (self.seen.potentials, self.seen.spikes)]
        state = neuron.carry(before[0], masks.as_mask(before[1]))
        expected = charge(arrived, state)
        normalised = neuron.norm is not None and neuron.norm.carried
        magnitude = _magnitude(self.folded.neurons[name], before[0]) if normalised else state.abs_()
        return expected, torch.add(allowed, magnitude, alpha=allowance(self.terms[name]))

    def _blame(self, rows: Tensor | None, *faults: Tensor | None) -> None:
        """Note the samples, of `rows`, in which one of the masks marks anything."""
        for mask in faults:
            if mask is not None:
                wrong = mask.flatten(1).any(1)
                self.faulty[slice(None) if rows is None else rows] |= wrong

    def _measure_nearest(self, name: str, u: Tensor, plain: Neuron) -> None:
        unit = torch.nextafter(plain.threshold.abs(), torch.tensor(torch.inf)) - plain.threshold.abs()
        distance = float(((u - plain.threshold).abs_() / unit).nan_to_num(torch.inf, torch.inf).min()) if u.numel() else math.inf
        known = self.nearest.get(name)
        found = min(math.inf if known is None else known, distance)
        self.nearest[name] = found if math.isfinite(found) else None


def _largest_over_time(constant: Tensor, dims: int) -> Tensor:
    """The magnitude of a constant, at its largest where it changes from step to step."""
    return constant.abs().amax(0) if constant.dim() > dims else constant.abs()


def _magnitude(plain: Neuron, u: Tensor) -> Tensor:
    """How large the sum is that carries a normalised potential on, summed by magnitudes: scale and shift may cancel."""
    kept = plain.leak.abs() * u.abs()
    return (kept if plain.shift is None else kept + plain.shift.abs()) + plain.reset.abs()
