"""Level 3: the artifact in its runtime, on data, judged neuron by neuron and step by step.

The source's own layers run on the candidate's spikes, and each potential starts from the candidate's own state: an early flip is
counted where it happens and not again downstream. Three questions per potential:

    outside      is it further from the source's than the rounding bound of that sum?
    undecided    is the spike what the folded threshold says about the candidate's own potential? (no rounding is involved)
    flip         does the source decide otherwise? explained where the potential is within the bound of the threshold
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.lower.ops import merge_time, repeat_time
from snnconv.neuron import NEURON_OP, carry, charge
from snnconv.nn import read_out
from snnconv.program import SpikingProgram
from snnconv.results import LayerTally
from snnconv.runtimes import Observation
from snnconv.verify.rounding import Magnitudes, bound

OUTPUT = "output"


def judge(source: SpikingProgram, folded: SpikingProgram, x: Tensor, seen: Observation, start: int = 0) -> list[LayerTally]:
    """Judge one observed run on `x`, whose first sample is number `start`. The last tally is the output's."""
    steps = source.contract.timesteps
    merged = merge_time(x) if source.contract.event else repeat_time(x, steps)
    nothing = [None] * len(source.neurons)
    for name, neuron in source.neurons.items():
        expected = (len(merged), *neuron.shape)
        for values in (seen.potentials.get(name), seen.spikes.get(name)):
            if values is None or tuple(values.shape) != expected:
                raise ShapeMismatch(name, () if values is None else tuple(values.shape), expected)
    with torch.no_grad():
        magnitudes = Magnitudes(source, seen.spikes)
        magnitudes.run(merged, *nothing)
        judging = _Judge(source, folded, seen, magnitudes, len(x), start)
        judging.run(merged, *nothing)
    return judging.tallies


def merge(a: LayerTally, b: LayerTally) -> LayerTally:
    """Two tallies of one layer, over disjoint samples, as one."""
    total = a.decisions + b.decisions
    return replace(
        a,
        decisions=total,
        explained=a.explained + b.explained,
        unexplained=a.unexplained + b.unexplained,
        outside=a.outside + b.outside,
        undecided=a.undecided + b.undecided,
        worst=max(a.worst, b.worst),
        first=a.first if a.first is not None else b.first,
        rate_reference=_weighted(a.rate_reference, a.decisions, b.rate_reference, b.decisions),
        rate_candidate=_weighted(a.rate_candidate, a.decisions, b.rate_candidate, b.decisions),
    )


def _weighted(a: float, n: int, b: float, m: int) -> float:
    return (a * n + b * m) / max(n + m, 1)


class _Judge(fx.Interpreter):
    def __init__(
        self,
        source: SpikingProgram,
        folded: SpikingProgram,
        seen: Observation,
        magnitudes: Magnitudes,
        batch: int,
        start: int,
    ) -> None:
        super().__init__(source.graph)
        self.source, self.folded, self.seen, self.magnitudes = source, folded, seen, magnitudes
        self.batch, self.start = batch, start
        self.tallies: list[LayerTally] = []

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is not NEURON_OP:
            return super().call_function(target, args, kwargs)
        self.tallies.append(self._neuron(args[2], args[0]))
        return self.seen.spikes[args[2]], None

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        contract, y = self.source.contract, args[0][0]
        expected = read_out(list(y.split(self.batch)), contract.readout)
        if self.seen.y.shape != expected.shape:
            raise ShapeMismatch(OUTPUT, tuple(self.seen.y.shape), tuple(expected.shape))
        magnitude = read_out(list(self.magnitudes.current[""].split(self.batch)), contract.readout)
        error = (self.seen.y - expected).abs()
        allowed = bound(magnitude, self.magnitudes.terms[""] + contract.timesteps)
        outside = ~(error <= allowed)
        self.tallies.append(
            LayerTally(
                OUTPUT,
                decisions=error.numel(),
                outside=int(outside.sum()),
                worst=float((error / allowed).max()),
                first=(self.start + int(outside.nonzero()[0][0]), 0) if bool(outside.any()) else None,
            )
        )

    def _neuron(self, name: str, current: Tensor) -> LayerTally:
        neuron, plain = self.source.neurons[name], self.folded.neurons[name]
        u, spikes = self.seen.potentials[name], self.seen.spikes[name]
        fired = spikes > 0
        expected, allowed = self._expected(name, current, u, fired)
        error = (u - expected).abs_()
        worst = float((error / allowed).max().nan_to_num(torch.inf))
        # Masks are made only where there is something to mark: on sound artifacts that is hardly ever.
        nothing = torch.zeros((), dtype=torch.bool)
        outside = nothing if worst <= 1 else ~(error <= allowed)
        decided = plain.fires(u)
        sound = torch.equal(decided, fired) and torch.equal(spikes, fired.to(spikes.dtype))
        undecided = nothing if sound else (decided != fired) | (spikes != fired)
        flips = neuron.fires(expected) ^ fired
        explained = flips & ((expected - plain.threshold).abs_() <= allowed) if bool(flips.any()) else nothing
        unexplained = flips & ~explained if bool(flips.any()) else nothing
        return LayerTally(
            name,
            decisions=u.numel(),
            explained=int(explained.sum()),
            unexplained=int(unexplained.sum()),
            outside=int(outside.sum()),
            undecided=int(undecided.sum()),
            worst=worst,
            first=self._first(outside | undecided | unexplained),
            rate_candidate=int(fired.count_nonzero()) / fired.numel(),
        )

    def _expected(self, name: str, current: Tensor, u: Tensor, fired: Tensor) -> tuple[Tensor, Tensor]:
        """The source's potential from the candidate's own state, and how far from it the candidate's may lie."""
        neuron, magnitude = self.source.neurons[name], self.magnitudes.current[name]
        if neuron.gain is not None:
            magnitude = magnitude * neuron.gain.abs()
        if neuron.offset is not None:
            magnitude = magnitude + neuron.offset.abs()
        carried = carry(u, fired, neuron.leak, neuron.shift, neuron.reset, neuron.soft)
        state = torch.cat([torch.zeros_like(u[: self.batch]), carried[: -self.batch]])
        expected = charge(current, state, neuron.gain, neuron.offset)
        return expected, bound(state.abs_() + magnitude, self.magnitudes.terms[name])

    def _first(self, faults: Tensor) -> tuple[int, int] | None:
        """Sample and step of the first fault, steps first."""
        if faults.dim() == 0 or not bool(faults.any()):
            return None
        row = int(faults.nonzero()[0][0])
        return self.start + row % self.batch, row // self.batch


class ShapeMismatch(Exception):
    """A layer of the candidate has potentials of another shape than the source's."""

    def __init__(self, name: str, seen: tuple[int, ...], expected: tuple[int, ...]) -> None:
        super().__init__(f"{name}: values are {list(seen)}, not {list(expected)}")
        self.name = name
