"""Level 2: source and artifact in float64, free-running. In real arithmetic they are the same network, so they spike alike.

The source runs by its framework's own code, and its current into each neuron gives the potential to expect. The artifact runs by
its own graph, in which the constants of a float64 fold stand for those it holds: with rounding out of the way, what is left to
differ is the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.engines import Candidate, Observation, RunFailure
from snnconv.errors import first_line
from snnconv.ir.dynamics import integrate
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram
from snnconv.lower import lower
from snnconv.results import NOT_CHECKED, OUTPUT, Check, output_layer
from snnconv.user_code import UserCodeError
from snnconv.verify.reference import Reference
from snnconv.verify.running import ShapeMismatch, check_shapes, observe

TOLERANCE = 1e-9
COARSE = 1e-6
"""The tolerance for a graph with float32 numbers of its own, of which nobody knows what they were before they were rounded, and
for one that lacks constants which round to nothing."""


def check_algebra(reference: Reference, candidate: Candidate, x: Tensor, ours: Callable[[], bool] = lambda: True) -> list[Check]:
    """Same spikes, and the same potentials and logits to `TOLERANCE`, on every sample of `x` `[B, ...]`.

    A failure names the first layer, in the network's order, that differs. It is not checked if the engine or the source cannot
    do it, or if a graph that is not `ours`, that of a fresh export, does not run in float64 or lacks constants that were rounded.
    """
    unable = _unable(candidate)
    if unable:
        return [_unchecked(unable)]
    folded64, source, x = reference.folded64, reference.source64, x.double()
    constants, tolerance = _constants(folded64, candidate)
    tolerance = COARSE if reference.drops else tolerance
    fitting = _fitting(constants, candidate.constants())
    if len(fitting) < len(constants) and not ours():
        rounded = [name for name, value in constants.items() if name not in fitting and not _exact(value)]
        if rounded:
            return [_unchecked(f"the artifact holds no constant {rounded[0]} like the source's")]
        constants = fitting
    try:
        seen = observe(candidate.with_constants(constants), x)
        check_shapes(folded64, len(x), seen)
    except RunFailure as error:
        said = f"the artifact does not run in float64: {error}"
        return [_failed("", said) if ours() else _unchecked(said)]
    except ShapeMismatch as error:
        return [_failed(error.name, f"the artifact does not run in float64: {error}")]
    comparing = _Comparison(source.program.neurons, seen, tolerance)
    try:
        outputs = source.outputs(x, comparing.see)
    except UserCodeError as error:
        return [_unchecked(f"the source does not run in float64: {first_line(error)}")]
    return [comparing.check(dict(zip(source.program.contract.readouts, outputs, strict=True)))]


def _unable(candidate: Candidate) -> str:
    """What the engine would have to do and cannot, in words; empty if it can do it all."""
    engine = candidate.engine
    if not engine.float64:
        return f"{engine} does not compute in float64"
    if not engine.moves_constants:
        return f"{engine} cannot run an artifact with other constants"
    return candidate.unobservable


def _fitting(constants: dict[str, Tensor], held: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those constants for which the artifact holds one of the same name, shape and kind."""

    def fits(value: Tensor, other: Tensor | None) -> bool:
        return other is not None and (other.shape, other.is_floating_point()) == (value.shape, value.is_floating_point())

    return {name: value for name, value in constants.items() if fits(value, held.get(name))}


def _exact(value: Tensor) -> bool:
    """Whether float32 holds these values as they are: then the artifact may hold them in any place."""
    return not value.is_floating_point() or torch.equal(value, value.float().to(value.dtype))


def _unchecked(detail: str) -> Check:
    return Check("algebra", "", False, detail, open=NOT_CHECKED)


def _failed(layer: str, detail: str) -> Check:
    return Check("algebra", layer, False, detail)


def _constants(folded64: SpikingProgram, candidate: Candidate) -> tuple[dict[str, Tensor], float]:
    """The float64 value of every constant, and the tolerance that this leaves.

    A format that holds the numbers in the network's code as constants of its own, rounded, is given them back exactly.
    """
    constants = lower(folded64, candidate.form).constants()
    written = {float(torch.tensor(number)): number for number in _numbers(folded64.graph.graph)}
    tolerance = COARSE if any(_is_rounded(torch.tensor(number)) for number in candidate.numbers()) else TOLERANCE
    for name, value in candidate.constants().items():
        if name in constants or not value.is_floating_point():
            continue
        if value.dim() == 0 and value.item() in written:
            constants[name] = torch.tensor(written[value.item()], dtype=torch.float64)
        elif _is_rounded(value):
            tolerance = COARSE
    return constants, tolerance


def _is_rounded(value: Tensor) -> bool:
    """Whether float32 numbers may have been others before they were rounded: those that half precision holds were not."""
    return not torch.equal(value, value.half().to(value.dtype))


def _numbers(graph: fx.Graph) -> Iterator[float]:
    """Every number that is an argument in a graph."""
    for node in graph.nodes:
        arguments: list[Any] = []
        fx.node.map_aggregate((node.args, node.kwargs), arguments.append)
        yield from (a for a in arguments if isinstance(a, float))


@dataclass
class _Found:
    """What was found about one layer so far: its state in the source and what arrived there last; flips, the largest error."""

    state: Tensor | None = None
    arrived: Tensor | None = None
    steps: int = 0
    flips: int = 0
    error: float = 0.0
    first: int | None = None


class _Comparison:
    """Sees the source's current and spikes, neuron by neuron and step by step, and holds them against the artifact's."""

    def __init__(self, neurons: dict[str, Neuron], seen: Observation, tolerance: float) -> None:
        self.neurons, self.seen, self.tolerance = neurons, seen, tolerance
        self.layers = {name: _Found() for name in neurons}

    def see(self, name: str, current: Tensor, spikes: Tensor) -> None:
        neuron, found = self.neurons[name], self.layers[name]
        if not self.seen.shows(name, found.steps):
            return
        found.arrived = neuron.synaptic_current(current, found.arrived, found.steps)
        u, fired = integrate(found.arrived, found.state), spikes > 0
        flips = int((fired ^ (self.seen.spikes[name][found.steps] > 0)).count_nonzero())
        error = _error(self.seen.potentials[name][found.steps], u)
        if found.first is None and (flips or not error <= self.tolerance):
            found.first = found.steps
        found.flips += flips
        found.error = max(found.error, error)
        found.state = neuron.after_reset(u, fired)
        found.steps += 1

    def check(self, outputs: dict[str, Tensor]) -> Check:
        """The verdict, given the source's outputs by their names."""
        samples = f"float64, {len(next(iter(outputs.values())))} samples"
        for name, found in self.layers.items():
            if found.first is not None:
                detail = f"{found.flips} flips, potentials differ by up to {found.error:.1e}, first at step {found.first}"
                return _failed(name, f"{samples}: {detail}")
        if len(self.seen.outputs) != len(outputs):
            return _failed(OUTPUT, f"{samples}: there are {len(self.seen.outputs)} outputs, not {len(outputs)}")
        worst = max(found.error for found in self.layers.values())
        for (name, y), seen in zip(outputs.items(), self.seen.outputs, strict=True):
            if seen.shape != y.shape:
                return _failed(output_layer(name), f"{samples}: logits are {list(seen.shape)}, not {list(y.shape)}")
            error = _error(seen, y)
            if not error <= self.tolerance:
                return _failed(output_layer(name), f"{samples}: same spikes, but logits differ by up to {error:.1e}")
            worst = max(worst, error)
        return Check("algebra", "", True, f"{samples}: same spikes, potentials and logits to {worst:.1e}")


def _error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in units of the largest value expected, or of 1 if that is larger; infinite where not a number."""
    scale = expected.abs().max().clamp(min=1.0)
    return float(((found - expected).abs().max() / scale).nan_to_num(torch.inf))
