"""Judging a potential and its spike, given what arrives at the neuron in the source. Three questions:

outside       is it further from the source's than the rounding bound of that sum?
inconsistent  is the spike what the folded threshold says about the candidate's own potential? (no rounding is involved)
flip          does the source decide otherwise? explained if the potential is within the bound of the threshold
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snnconv.engines import Observation
from snnconv.ir.dynamics import integrate
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import Outputs
from snnconv.results import LayerTally, output_layer
from snnconv.verify import masks
from snnconv.verify.divergence import Divergence
from snnconv.verify.measured import FACTOR
from snnconv.verify.rounding import allowance


@dataclass(frozen=True)
class Bounds:
    """How far rounding may move the current `[B, ...]` into each neuron at any step, and each output.

    Attributes:
        allowed: that distance, by the name of the layer.
        terms: in how many roundings.
        measured: the layers whose bound rests on the measured error of an operator for which no rounding rule is known.
        outputs: that distance for every output.
        measured_outputs: of which outputs it rests on a measured error.
    """

    allowed: Mapping[str, Tensor]
    terms: Mapping[str, int]
    measured: frozenset[str]
    outputs: Outputs
    measured_outputs: tuple[bool, ...]


@dataclass
class _Common:
    """The part of a layer's tally that every step adds to."""

    values: int = 0
    spikes_reference: int = 0
    spikes_candidate: int = 0
    worst: float | None = 0.0


class Layers:
    """The layers of one chunk of samples, judged call by call.

    Args:
        program, folded: the source's program and its fold.
        seen: what was observed of the candidate.
        bounds: how far rounding may move the current into each neuron, and the outputs.
        divergence: where faults are noted.
        start: the number of the first sample.
        wants_nearest: whether to measure the distances from thresholds, into `nearest`.
    """

    def __init__(
        self,
        program: SpikingProgram,
        folded: SpikingProgram,
        seen: Observation,
        bounds: Bounds,
        divergence: Divergence,
        start: int,
        wants_nearest: bool,
    ) -> None:
        self.seen, self.nearest = seen, dict[str, float | None]()
        self._neurons, self._folded = program.neurons, folded.neurons
        self._bounds, self._divergence, self._start = bounds, divergence, start
        self._wants_nearest, self._steps = wants_nearest, program.contract.timesteps
        self._constants = {name: neuron.constants() for name, neuron in folded.neurons.items()}
        self._common = {name: _Common() for name in program.neurons}
        layers = (*program.neurons, *program.memories)
        self._found = {name: LayerTally(name, measured=name in bounds.measured) for name in layers}
        self._output_layers = [output_layer(name) for name in program.contract.readouts]
        self._found_outputs: list[LayerTally] = []

    def tallies(self) -> list[LayerTally]:
        """One per layer, in the order of the network, and one per output."""
        layers = [found + LayerTally(name, **vars(self._common.get(name, _Common()))) for name, found in self._found.items()]
        return [*layers, *self._found_outputs]

    def count(self, name: str, fired: Tensor, reference: Tensor) -> None:
        """Count the spikes of one call, of the candidate and of the free-running source, both bool `[B, ...]`."""
        common, count = self._common[name], masks.count(fired)
        common.values += fired.numel()
        common.spikes_candidate += count
        common.spikes_reference += count if reference is fired else masks.count(reference)

    def judge_outputs(self, expected: Outputs, strays: Outputs | None = None) -> None:
        """Judge every output, given the candidate's spikes; `strays` marks the values that are wrong whatever is expected."""
        bounds = zip(self._bounds.outputs, self._bounds.measured_outputs, strict=True)
        for i, (allowed, measured) in enumerate(bounds):
            error = (self.seen.outputs[i] - expected[i]).abs()
            outside = ~(error <= allowed)
            if strays is not None:
                outside |= strays[i]
            self._divergence.blame(None, outside)
            found = LayerTally(
                self._output_layers[i],
                values=error.numel(),
                outside=int(outside.sum()),
                worst=masks.finite(float((error / allowed).max())),
                first=(self._start + int(outside.nonzero()[0][0]), 0) if bool(outside.any()) else None,
                measured=measured,
            )
            self._found_outputs.append(found)

    def judge_memory(self, name: str, step: int, expected: Tensor) -> None:
        """Judge what the candidate's step finds in a memory `[B, ...]`, given what the step before found and did."""
        allowed = self._bounds.allowed[name]
        error = (self.seen.memories[name][step] - expected).abs()
        outside = ~(error <= allowed)
        self._divergence.blame(None, outside)
        self._found[name] += LayerTally(
            name,
            values=error.numel(),
            outside=int(outside.sum()),
            worst=masks.finite(float((error / allowed).max())) if error.numel() else 0.0,
            first=(self._first(None, outside), step) if bool(outside.any()) else None,
        )

    def judge(
        self,
        name: str,
        step: int,
        rows: Tensor | None,
        arrived: Tensor,
        unlike: Tensor | None,
        driven: bool = False,
        own: Tensor | None = None,
    ) -> None:
        """Judge the `rows` (None: all) of one neuron at one step, given what arrives at them in the source.

        `unlike` marks, on all rows, the spikes in which the free-running source differs; a driven source is asked anew. `own`
        marks those in which a source with potentials of its own differs: rounding has moved these once a step.
        """
        plain = self._folded[name]
        u, spikes = (masks.take(kind[name][step], rows) for kind in (self.seen.potentials, self.seen.spikes))
        fired = masks.as_mask(spikes)
        expected, allowed = self._expected(name, step, rows, arrived)
        outside = self._outside(name, u, expected, allowed)
        inconsistent = masks.decide(u, self._constants[name]) ^ fired
        if spikes.dtype is not torch.bool:
            inconsistent |= spikes != fired.to(spikes.dtype)
        wrong = masks.count(inconsistent)
        flips = unexplained = beyond = margin = None
        if driven or unlike is not None:
            decided = self._neurons[name].fires(expected)
            flips = decided ^ fired if unlike is None else masks.take(unlike, rows)
            margin = (expected - plain.threshold).abs_() / allowed
            beyond = flips & ~(margin <= 1)
            unexplained = beyond & (decided ^ fired)
            if own is not None:
                strayed = own & ~(margin <= FACTOR * self._steps)
                flips, beyond, unexplained = flips | own, beyond | strayed, unexplained | strayed
        found = LayerTally(
            name,
            explained=masks.count(flips) - masks.count(unexplained),
            unexplained=masks.count(unexplained),
            outside=masks.count(outside),
            inconsistent=wrong,
            margins=()
            if driven and rows is not None
            else masks.histogram(((expected[:1] - plain.threshold).abs_() / allowed[:1]).flatten()),
            flips=() if margin is None or flips is None else masks.histogram(margin[flips]),
        )
        self._divergence.blame(rows, outside, inconsistent if wrong else None, beyond)
        if not found.sound:
            found = replace(found, first=(self._first(rows, outside, inconsistent, unexplained), step))
        self._found[name] += found
        if self._wants_nearest:
            self._measure_nearest(name, u, plain)

    def _outside(self, name: str, u: Tensor, expected: Tensor, allowed: Tensor) -> Tensor | None:
        """The potentials beyond their bound, None if there are none; the largest error is noted as a share of its bound."""
        common, error = self._common[name], (u - expected).div_(allowed)
        worst = masks.finite(masks.largest(error)) if len(u) else 0.0
        common.worst = None if worst is None or common.worst is None else max(worst, common.worst)
        return None if worst is not None and worst <= 1 else ~(error.abs_() <= 1)

    def _first(self, rows: Tensor | None, *faults: Tensor | None) -> int:
        """The number of the first sample that one of the masks marks."""
        marked = masks.of_samples(torch.stack([mask for mask in faults if mask is not None]).any(0))
        row = int(marked.nonzero()[0])
        return self._start + (row if rows is None else int(rows[row]))

    def _expected(self, name: str, step: int, rows: Tensor | None, arrived: Tensor) -> tuple[Tensor, Tensor]:
        """The potentials to expect of `rows` given the artifact's own state, and how far rounding may move each of them."""
        neuron, allowed = self._neurons[name], masks.take(self._bounds.allowed[name], rows)
        if not step:
            return integrate(arrived, None), allowed
        before = [masks.take(kind[name][step - 1], rows) for kind in (self.seen.potentials, self.seen.spikes)]
        state = neuron.after_reset(before[0], masks.as_mask(before[1]))
        expected = integrate(arrived, state)
        normalised = neuron.norm is not None and neuron.norm.carried
        magnitude = _magnitude(self._folded[name], before[0]) if normalised else state.abs_()
        return expected, torch.add(allowed, magnitude, alpha=allowance(self._bounds.terms[name]))

    def _measure_nearest(self, name: str, u: Tensor, plain: Neuron) -> None:
        unit = torch.nextafter(plain.threshold.abs(), torch.tensor(torch.inf)) - plain.threshold.abs()
        distance = float(((u - plain.threshold).abs_() / unit).nan_to_num(torch.inf, torch.inf).min()) if u.numel() else math.inf
        known = self.nearest.get(name)
        found = min(math.inf if known is None else known, distance)
        self.nearest[name] = found if math.isfinite(found) else None


def _magnitude(plain: Neuron, u: Tensor) -> Tensor:
    """How large the sum is that carries a normalised potential on, summed by magnitudes: scale and shift may cancel."""
    kept = plain.leak.abs() * u.abs()
    return (kept if plain.shift is None else kept + plain.shift.abs()) + plain.reset.abs()
