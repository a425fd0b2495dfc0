"""Neurons that nothing reads leave the graph, with their states."""

from __future__ import annotations

import pytest

from snnconv.capture.passes.unread_neurons import drop_unread_neurons
from snnconv.errors import Refused
from snnconv.ir.nodes import results
from snnconv.ir.program import neuron_calls
from snnconv.nn import LIF
from tests.capture.wired import captured, traced


def test_a_neuron_that_only_an_unread_neuron_reads_goes_as_well() -> None:
    graph = traced(lambda m, x: (m.c(m.b(m.conv(x))), m.head(m.a(m.conv(x)).flatten(1)))[1], c=LIF())
    assert [node.args[2] for node in neuron_calls(graph)] == ["b", "c", "a"]
    drop_unread_neurons(graph)
    assert [node.args[2] for node in neuron_calls(graph)] == ["a"]
    assert len(graph.find_nodes(op="placeholder")) == 1 + len(results(graph).following) == 2


def test_a_neuron_that_forward_never_calls_is_left_out() -> None:
    program = captured(lambda m, x: m.head(m.a(m.conv(x)).flatten(1)))
    assert list(program.neurons) == ["a"]
    assert len(program.graph.graph.find_nodes(op="placeholder")) == 2


def test_a_network_whose_neurons_all_go_unread_is_refused() -> None:
    with pytest.raises(Refused, match="no spiking neuron"):
        captured(lambda m, x: (m.a(m.conv(x)), m.head(m.conv(x).flatten(1)))[1])
