"""A lowered sequence is the program run step by step, with each region run as often as it must and no more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, fx, nn

from snnconv.errors import Refused
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import READOUTS
from snnconv.lower import Lowered, lower, ops
from snnconv.nn import LIF
from tests.networks import NETWORKS, program_of, trained

_ATEN = torch.ops.aten
TIMES = list(itertools.product(READOUTS, (False, True), (1, 2, 5)))


@cache
def folded(name: str) -> SpikingProgram:
    """In float64: the merged batch may sum in another order, which must not flip a spike here."""
    return fold(program_of(NETWORKS[name]())).to(torch.float64)


def over_time(program: SpikingProgram, readout: str, event: bool = False, timesteps: int = 3) -> SpikingProgram:
    """The same step under another time contract."""
    contract = replace(program.contract, readout=readout, event=event, timesteps=timesteps)
    return replace(program, contract=contract)


def assert_runs_alike(program: SpikingProgram) -> Lowered:
    """Same output, potentials and spikes as the program step by step."""
    lowered, steps = lower(program, "sequence"), program.contract.timesteps
    x = torch.rand(program.contract.batch_shape(3), generator=torch.Generator().manual_seed(0)).to(program.dtype)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in program.neurons}
    expected = program.run(x, lambda name, step, u, spikes: seen[name].append((u, spikes)))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    y = lowered.run(x, lambda name, u, spikes: found.__setitem__(name, (u, spikes)))
    assert y.shape == expected.shape and torch.allclose(y, expected, rtol=0, atol=1e-9)
    assert found.keys() == seen.keys()
    for name, (u, spikes) in found.items():
        potentials, fired = (torch.cat(values) for values in zip(*seen[name], strict=True))
        assert len(u) == 3 * steps and torch.allclose(u, potentials, rtol=0, atol=1e-9) and torch.equal(spikes, fired)
    return lowered


class Wired(nn.Module):
    """A conv, two neurons, a head, and a forward of its own."""

    def __init__(self, wiring: Callable[[Wired, Tensor], Tensor]) -> None:
        super().__init__()
        self.wiring = wiring
        self.conv, self.mix, self.skip = (nn.Conv2d(*size, padding=1) for size in ((2, 3, 3), (3, 3, 3), (2, 3, 3)))
        self.a, self.b, self.head = LIF(threshold=0.2), LIF(threshold=0.3, reset="soft"), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(self, x)


@cache
def wired(wiring: Callable[[Wired, Tensor], Tensor]) -> SpikingProgram:
    return over_time(fold(program_of(trained(Wired(wiring)), shape=(2, 4, 4))).to(torch.float64), "mean")


def logits(m: Wired, x: Tensor) -> Tensor:
    return m.head(m.a(m.conv(x)).flatten(1))


def calls(lowered: Lowered, target: object) -> list[fx.Node]:
    return lowered.graph.graph.find_nodes(op="call_function", target=target)


def order(lowered: Lowered) -> list[str]:
    """The operators in order, by their bare names."""
    nodes = lowered.graph.graph.nodes
    return [str(node.target).split(".")[1] for node in nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("readout", "event", "timesteps"), TIMES)
def test_sequence_is_the_program_step_by_step(name: str, readout: str, event: bool, timesteps: int) -> None:
    lowered = assert_runs_alike(over_time(folded(name), readout, event, timesteps))
    assert lowered.form == "sequence" and lowered.states == dict.fromkeys(("act1", "act2", "act3"), (6, 8, 8))


def test_what_precedes_the_first_neuron_runs_once_on_a_still_image() -> None:
    lowered = lower(over_time(folded("plain"), "mean"), "sequence")
    first, second, _ = calls(lowered, _ATEN.conv2d.default)
    assert first.args[0].op == "placeholder" and second.args[0].target is ops.NEURON_OVER_TIME
    assert [node.args[-1] for node in calls(lowered, ops.NEURON_OVER_TIME)] == [True, False, False]
    assert not calls(lowered, ops.REPEAT_TIME) and not calls(lowered, ops.MERGE_TIME)


def test_frames_are_merged_into_the_batch_once() -> None:
    lowered = lower(over_time(folded("plain"), "mean", event=True), "sequence")
    assert order(lowered)[:2] == ["merge_time", "conv2d"] and len(calls(lowered, ops.MERGE_TIME)) == 1
    assert not any(node.args[-1] for node in calls(lowered, ops.NEURON_OVER_TIME))


@pytest.mark.parametrize("readout", ["mean", "last"])
def test_affine_tail_runs_once_after_the_read_out(readout: str) -> None:
    lowered = lower(over_time(folded("plain"), readout), "sequence")
    assert order(lowered)[-4:] == ["reduce_time", "avg_pool2d", "flatten", "linear"]


@pytest.mark.parametrize("readout", ["sum", "none"])
def test_affine_tail_runs_at_every_step_where_its_bias_counts(readout: str) -> None:
    lowered = lower(over_time(folded("plain"), readout), "sequence")
    assert order(lowered)[-3:] == ["flatten", "linear", "reduce_time"]


TAILS: dict[str, Callable[[Wired, Tensor], Tensor]] = {
    "softmax": lambda m, x: logits(m, x).softmax(1),
    "reshapes": lambda m, x: nn.functional.interpolate(m.a(m.conv(x)), scale_factor=2).permute(0, 2, 3, 1).roll(1, 2).flatten(1),
    "transposed": lambda m, x: nn.functional.conv_transpose2d(m.a(m.conv(x)), m.mix.weight).mean((2, 3)),
    "three dimensions": lambda m, x: nn.functional.avg_pool3d(m.a(m.conv(x)).unsqueeze(1), (1, 2, 2)).flatten(1),
    "relu": lambda m, x: logits(m, x).relu(),
    "relu then linear": lambda m, x: nn.functional.pad(logits(m, x).relu(), (0, 44)) @ m.head.weight.T,
    "maximum": lambda m, x: logits(m, x).amax(1, keepdim=True),
    "product of two": lambda m, x: logits(m, x) * m.b(m.conv(x)).flatten(1)[:, :4],
    "scale and shift": lambda m, x: 1 - 2 * logits(m, x) / 3 + m.head.bias,
    "difference by alpha": lambda m, x: torch.sub(logits(m, x), x.flatten(1)[:, :4], alpha=-3),
    "sum by alpha of two": lambda m, x: torch.add(logits(m, x), m.b(m.conv(x)).flatten(1)[:, :4], alpha=-0.5),
    "quotient of two": lambda m, x: logits(m, x) / (2 + m.b(m.conv(x)).flatten(1)[:, :4]),
    "a number over it": lambda m, x: 2 / (logits(m, x) + 9),
    "product with the image": lambda m, x: x.flatten(1)[:, :4] * logits(m, x),
    "constant by it": lambda m, x: m.head.bias * logits(m, x) / m.head.weight[:, 0],
    "constant over it": lambda m, x: m.head.bias / (logits(m, x) + 9),
    "spatial": lambda m, x: nn.functional.avg_pool2d(m.mix(m.a(m.conv(x))), 3, 2, 1, divisor_override=5).flatten(1),
    "concatenation": lambda m, x: torch.cat([logits(m, x), x.flatten(1), m.b(m.conv(x)).flatten(1)], dim=1),
    "skip from the image": lambda m, x: logits(m, x) + x.flatten(1)[:, :4],
    "spikes": lambda m, x: m.a(m.conv(x)),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("readout", READOUTS)
def test_any_tail_commutes_with_the_read_out_as_far_as_it_is_moved(tail: str, readout: str) -> None:
    for event in (False, True):
        assert_runs_alike(over_time(wired(TAILS[tail]), readout, event))


@pytest.mark.parametrize("tail", ["softmax", "relu", "maximum", "product of two", "quotient of two", "constant over it"])
def test_a_tail_that_is_not_affine_is_reduced_after_it(tail: str) -> None:
    assert order(lower(wired(TAILS[tail]), "sequence"))[-1] == "reduce_time"


@pytest.mark.parametrize("tail", ["reshapes", "transposed", "three dimensions"])
def test_whatever_the_table_calls_affine_runs_after_the_read_out(tail: str) -> None:
    found = order(lower(wired(TAILS[tail]), "sequence"))
    assert found[found.index("neuron_over_time") + 1] == "reduce_time"


def test_a_square_is_not_affine() -> None:
    def squared(m: Wired, x: Tensor) -> Tensor:
        y = logits(m, x)
        return y * y

    assert_runs_alike(wired(squared))


def test_a_still_residual_is_repeated_into_the_timed_one() -> None:
    lowered = assert_runs_alike(wired(lambda m, x: m.b(m.mix(m.a(m.conv(x))) + m.skip(x)).flatten(1)))
    (repeat,) = calls(lowered, ops.REPEAT_TIME)
    assert repeat.args[0].target is _ATEN.conv2d.default and repeat.args[0].args[0].op == "placeholder"


def test_the_image_itself_reaches_a_later_layer() -> None:
    assert_runs_alike(wired(lambda m, x: m.b(m.skip(x + m.a(m.conv(x))[:, :2])).flatten(1)))


def test_one_conv_feeding_two_neurons_runs_once() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.conv(x)
        return m.head((m.a(y) - m.b(y)).flatten(1))

    lowered = assert_runs_alike(wired(wiring))
    assert len(calls(lowered, _ATEN.conv2d.default)) == 1
    assert [node.args[-1] for node in calls(lowered, ops.NEURON_OVER_TIME)] == [True, True]


def test_a_neuron_on_the_input_and_one_on_its_spikes() -> None:
    program = wired(lambda m, x: m.b(m.a(x)).flatten(1))
    for event in (False, True):
        assert_runs_alike(over_time(program, "mean", event))


def test_a_leak_of_one_costs_nothing() -> None:
    lowered = lower(over_time(folded("plain"), "mean"), "sequence")
    leaks = [node.args[1][ops.CONSTANTS.index("leak")] for node in calls(lowered, ops.NEURON_OVER_TIME)]
    assert [leak is None for leak in leaks] == [False, True, False]


def test_constants_of_neurons_are_held_by_their_names() -> None:
    held = lower(folded("per_channel"), "sequence").constants()
    assert {"act1.threshold", "act1.leak", "act1.reset", "act3.gain", "act3.offset", "conv1.weight", "head.bias"} <= set(held)


def test_lowering_changes_nothing_in_the_program() -> None:
    program = folded("per_element")
    code, paths = program.graph.code, [*program.graph.state_dict()]
    lower(program, "sequence")
    assert program.graph.code == code and [*program.graph.state_dict()] == paths


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_a_program_with_membrane_norms_is_refused(form: str) -> None:
    with pytest.raises(Refused, match="still holds norms; fold it first"):
        lower(program_of(NETWORKS["per_channel"]()), form)


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_a_program_with_batch_norms_is_refused(form: str) -> None:
    with pytest.raises(Refused):
        lower(program_of(NETWORKS["plain"]()), form)


def test_the_neurons_listed_are_the_neurons_that_run() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.conv(x)
        m.b(y)
        return m.a(y).flatten(1)

    lowered = lower(wired(wiring), "sequence")
    assert list(lowered.states) == [node.args[-3] for node in calls(lowered, ops.NEURON_OVER_TIME)]
