"""An operator without a rounding rule gets a bound that is measured: sound artifacts are within it, wrong ones are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn

from snnconv.engines import open_candidate
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram, put, share, tensors
from snnconv.nn import LIF
from snnconv.results import LayerTally
from snnconv.sources import Source
from snnconv.verify import Reference
from snnconv.verify.deployment import compare_layers
from snnconv.verify.measured import FACTOR, measure
from snnconv.verify.rounding import Magnitudes, allowance, bound
from snnconv.verify.running import observe
from tests.networks import SHAPE, inputs, source_of

Function = Callable[[Tensor], Tensor]


class Behind(nn.Module):
    """Conv, neuron, conv, a function without a row, conv, neuron: the function moves the second neuron alone, and the output."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.act1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), LIF(threshold=0.2), nn.Conv2d(4, 4, 3, padding=1)
        self.function, self.conv3, self.act2 = function, nn.Conv2d(4, 4, 3, padding=1), LIF(threshold=0.2)
        self.head = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self.conv2(self.act1(self.conv1(x))))
        return self.head(self.act2(self.conv3(y)).flatten(1))


FUNCTIONS: dict[str, Function] = {
    "sine": torch.sin,
    "exponential": torch.exp,
    "root of a sum of squares": lambda y: y / (y * y).sum(1, keepdim=True).add(1e-3).sqrt(),
    "division by what depends on the input": lambda y: y / (y.abs().mean(1, keepdim=True) + 0.1),
    "steps": lambda y: torch.floor(y * 4) / 4,
    "choice": lambda y: torch.where(y > 0, y, y * 0.25),
    "standard deviation": lambda y: y + y.std(1, keepdim=True),
    "largest two": lambda y: torch.cat([y.topk(2, 1).values, y[:, :2]], 1),
}


def tallies(source: Source, artifact: SpikingProgram, path: Path) -> dict[str, LayerTally]:
    """The layers of an export of `artifact`, judged as a candidate for `source`."""
    export(artifact, path, format_of(path))
    x = inputs(source, 8)
    judged = compare_layers(Reference(source), x, observe(open_candidate(path).load(), x))
    return {tally.name: tally for tally in judged.layers}


@pytest.mark.sample(2)
@pytest.mark.parametrize("suffix", [".onnx", ".ts"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_sound_artifact_is_within_the_measured_bound(name: str, suffix: str, tmp_path: Path) -> None:
    source = source_of(Behind(FUNCTIONS[name]).eval())
    found = tallies(source, fold(source.program), tmp_path / f"net{suffix}")
    assert all(tally.sound for tally in found.values())
    assert {name: tally.measured for name, tally in found.items()} == {"act1": False, "act2": True, "output": False}


def scaled(folded: SpikingProgram, path: str, by: float) -> SpikingProgram:
    """`folded` with one weight multiplied."""
    graph = share(folded.graph)
    put(graph, path, tensors(graph)[path] * by)
    return SpikingProgram(graph, folded.neurons, folded.contract, folded.origin, folded.sites, folded.proofs, folded.source)


@pytest.mark.sample(12)
@pytest.mark.parametrize("weight", ["conv2.weight", "conv3.weight"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_weight_that_is_wrong_by_a_hundredth_is_outside(name: str, weight: str, tmp_path: Path) -> None:
    source = source_of(Behind(FUNCTIONS[name]).eval())
    found = tallies(source, scaled(fold(source.program), weight, 1.01), tmp_path / "net.ts")
    assert found["act1"].sound and found["act2"].outside


@pytest.mark.parametrize("other", [torch.cos, lambda y: torch.sin(y * 1.001), lambda y: y])
def test_another_function_in_its_place_is_outside(other: Function, tmp_path: Path) -> None:
    source, mutant = (source_of(Behind(function).eval()) for function in (torch.sin, other))
    assert tallies(source, fold(mutant.program), tmp_path / "net.ts")["act2"].outside


class Alone(nn.Module):
    """A function of the input, into a neuron."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function, self.act = function, LIF()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.function(x)).flatten(1)


def magnitudes(function: Function, *frames: Tensor) -> Magnitudes:
    program = source_of(Alone(function).eval(), timesteps=len(frames), shape=tuple(frames[0].shape[1:])).program
    found = Magnitudes(program)
    with torch.no_grad():
        found.measure(frames, {"act": [torch.zeros_like(frame) for frame in frames]})
    return found


def allowed(function: Function, *frames: Tensor) -> Tensor:
    found = magnitudes(function, *frames)
    return bound(found.current["act"], found.terms["act"])


def test_the_bound_covers_the_error_of_float32_many_times_and_some_ulps_of_the_largest_value() -> None:
    x = torch.rand(4, *SHAPE) + 1
    found = allowed(torch.expm1, x)
    own = (torch.expm1(x) - torch.expm1(x.double())).abs().max()
    assert bool((found >= FACTOR * own).all())
    assert bool((found >= allowance(1) * torch.expm1(x).max()).all())
    assert bool((found <= 1e-4).all())


def test_the_bound_follows_what_the_function_makes_of_the_rounding_of_its_input() -> None:
    x = torch.rand(4, *SHAPE) + 4
    moved = bound(x, 0).max() * torch.exp(x.max() * 1.0)
    assert bool((allowed(torch.exp, x) >= 0.9 * moved).all())


def test_every_step_counts() -> None:
    small, large = torch.rand(2, *SHAPE), torch.rand(2, *SHAPE) + 5
    assert torch.equal(allowed(torch.exp, small, large), allowed(torch.exp, large, small))
    assert bool((allowed(torch.exp, small, large) > 50 * allowed(torch.exp, small, small)).all())


def test_an_element_near_a_tie_may_go_either_way_and_no_other() -> None:
    x = torch.full((1, *SHAPE), 0.4)
    x[0, 0, 0, 0] = 0.5 + 1e-7
    found = allowed(lambda y: torch.floor(y * 2), x)
    assert found[0, 0, 0, 0] > 1
    assert found.flatten()[1:].max() <= 1e-5


def test_a_wide_bound_stays_with_the_element_that_needs_it() -> None:
    x = torch.rand(4, *SHAPE) + 2
    x[0, 0, 0, 0] = 1.001
    found = allowed(lambda y: 1 / (y - 1), x)
    assert found[0, 0, 0, 0] > 1 and found.flatten()[1:].max() < 0.01


def test_a_function_that_multiplies_every_rounding_error_excuses_no_more_than_two_of_its_values_can_differ() -> None:
    x = torch.rand(4, *SHAPE) + 1
    found = allowed(lambda y: torch.frac(y * 1e6), x)
    assert bool((found <= 2.01).all())


def test_integers_that_depend_on_the_input_make_what_they_choose_measured() -> None:
    def chosen(x: Tensor) -> Tensor:
        return x.gather(1, x.argmax(1, keepdim=True)) + x

    assert magnitudes(chosen, torch.rand(2, *SHAPE)).measured == {"act"}


def only_in_float32(x: Tensor) -> Tensor:
    if x.dtype is not torch.float32:
        raise RuntimeError("not implemented for 'Double'")
    return x / 3


def test_an_operator_that_does_not_run_in_float64_is_refused_with_what_to_do() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(only_in_float32, (x,))
    with pytest.raises(Refused, match=r"does not run in float64: not implemented for 'Double'; give it a row in the table"):
        measure(node, [{x: torch.rand(2)}], {})
