"""A lowered step is one step of the program with its state outside."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from snnconv.fold import fold
from snnconv.ir.dynamics import neuron_step
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import frames, read_out
from snnconv.lower import Lowered, lower, ops
from tests.networks import NETWORKS, program_of


@cache
def folded(name: str) -> SpikingProgram:
    return fold(program_of(NETWORKS[name]())).to(torch.float64)


class Step(fx.Interpreter):
    """Runs a lowered step with the torch implementation of its neurons."""

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is not ops.NEURON_STEP:
            return super().call_function(target, args, kwargs)
        x, state, constants, strict, soft, _ = args
        return neuron_step(x, state, ops.neuron_constants(constants, strict, soft))[1:]


def streamed(lowered: Lowered, x: Tensor) -> list[Tensor]:
    """The outputs of all steps, the caller keeping the states."""
    state = [torch.zeros(len(x), *shape, dtype=x.dtype) for shape in lowered.states.values()]
    outputs = []
    for frame in frames(x, lowered.contract.timesteps, lowered.contract.event):
        y, *state = Step(lowered.graph).run(frame, *state)
        outputs.append(y)
    return outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_in_a_row_are_the_program(name: str) -> None:
    program = folded(name)
    x = torch.rand(program.contract.batch_shape(4), generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(read_out(streamed(lower(program, "step"), x), "mean"), program.run(x))


def test_steps_in_a_row_are_the_sequence_on_frames() -> None:
    program = fold(program_of(NETWORKS["per_element"](), timesteps=3, event=True, readout="none")).to(torch.float64)
    x = torch.rand(program.contract.batch_shape(2), generator=torch.Generator().manual_seed(1)).double()
    found = torch.stack(streamed(lower(program, "step"), x), dim=1)
    assert torch.allclose(found, lower(program, "sequence").run(x), rtol=0, atol=1e-12)


def test_states_go_in_and_come_out_in_the_order_of_the_neurons() -> None:
    lowered = lower(folded("per_channel"), "step")
    graph = lowered.graph.graph
    assert lowered.form == "step" and lowered.states == dict.fromkeys(("act1", "act2", "act3"), (6, 8, 8))
    calls = graph.find_nodes(op="call_function", target=ops.NEURON_STEP)
    assert [node.args[-1] for node in calls] == list(lowered.states)
    _, *states = graph.find_nodes(op="placeholder")
    assert [node.args[1] for node in calls] == states
    (output,) = graph.find_nodes(op="output")
    assert [(node.args[0], node.args[1]) for node in output.args[0][1:]] == [(call, 1) for call in calls]


def test_each_neuron_holds_its_constants_by_name() -> None:
    lowered = lower(folded("per_channel"), "step")
    held = lowered.constants()
    neuron = folded("per_channel").neurons["act1"]
    assert torch.equal(held["act1.threshold"], neuron.constants().threshold) and torch.equal(
        held["act1.inverted"], neuron.inverted
    )
    assert torch.equal(held["act1.leak"], neuron.leak) and "act1.shift" not in held and "act1.gain" not in held
    assert torch.equal(held["act3.gain"], folded("per_channel").neurons["act3"].gain)


def test_lowering_changes_nothing_in_the_program() -> None:
    program = folded("per_channel")
    code, paths = program.graph.code, [*program.graph.state_dict()]
    lower(program, "step")
    assert program.graph.code == code and [*program.graph.state_dict()] == paths
