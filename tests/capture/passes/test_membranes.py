"""A network computes with spikes and potentials; one that computes with what a neuron carries is refused, with the neuron."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnconv.capture.passes.membranes import ensure_membranes_unread
from snnconv.errors import Refused
from snnconv.ir.nodes import results
from snnconv.ir.program import neuron_calls
from tests.capture.wired import operators, traced


def spiking(m, x: Tensor) -> Tensor:
    return m.head(m.a(m.conv(x)).flatten(1))


def test_a_graph_whose_states_are_only_returned_stays_as_it_is() -> None:
    graph = traced(spiking)
    before = operators(graph)
    assert ensure_membranes_unread(graph) is graph and operators(graph) == before


def test_a_state_that_is_computed_with_is_refused() -> None:
    graph = traced(spiking)
    (state,) = results(graph).following
    with graph.inserting_after(state):
        graph.call_function(torch.ops.aten.relu.default, (state,))
    with pytest.raises(Refused, match=r"a state of neuron a, and nothing says what that holds; read its potential or its spikes"):
        ensure_membranes_unread(graph)


def test_a_state_that_is_the_output_is_refused() -> None:
    graph = traced(spiking)
    (state,) = results(graph).following
    (output,) = graph.find_nodes(op="output")
    output.args = ((state, state),)
    assert [node.args[2] for node in neuron_calls(graph)] == ["a"]
    with pytest.raises(Refused, match="a state of neuron a"):
        ensure_membranes_unread(graph)
