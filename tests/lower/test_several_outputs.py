"""A sequence of several outputs: each is read out as the contract says of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from snnconv.fold import fold
from snnconv.ir.time import READOUTS
from snnconv.lower import lower, ops
from tests.networks import inputs
from tests.several import NETWORKS, several


@pytest.mark.parametrize("event", [False, True])
@pytest.mark.parametrize("name", ["heads", "untouched"])
def test_every_output_is_read_out_in_its_own_way(name: str, event: bool) -> None:
    source = several(name, event=event)
    folded, x = fold(source.program), inputs(source, 2)
    for turn in range(len(READOUTS)):
        names = source.program.contract.readouts
        outputs = tuple((each, READOUTS[(turn + i) % len(READOUTS)]) for i, each in enumerate(names))
        program = replace(folded, contract=replace(folded.contract, outputs=outputs))
        for found, expected in zip(lower(program, "sequence").outputs(x), program.outputs(x), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("first", "second"), product(("mean", "last"), repeat=2))
def test_what_two_outputs_share_is_read_out_once_if_both_read_out_alike(first: str, second: str) -> None:
    source = several("heads", "spikes,map")
    contract = replace(source.program.contract, outputs=(("spikes", first), ("map", second)))
    lowered = lower(fold(replace(source.program, contract=contract)), "sequence")
    reductions = lowered.graph.graph.find_nodes(op="call_function", target=ops.REDUCE_TIME)
    assert len(reductions) == (1 if first == second else 2)


def test_a_step_returns_the_outputs_before_the_states() -> None:
    for name in NETWORKS:
        source = several(name)
        lowered = lower(fold(source.program), "step")
        (output,) = lowered.graph.graph.find_nodes(op="output")
        assert len(output.args[0]) == len(source.program.contract.outputs) + len(lowered.state_names)
        assert len(set(output.args[0])) == len(output.args[0]), "every result is a value of its own"
