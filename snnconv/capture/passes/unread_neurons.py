"""Dropping neurons whose spikes nothing reads, with their states.

    (y, *next_states)   ->   (y, the next states of the neurons that y depends on)

Exact: y does not depend on them. A neuron that only an unread neuron reads goes as well.
"""

from __future__ import annotations

from torch import fx

from snnconv.ir.nodes import operand, outputs
from snnconv.ir.program import neuron_calls


def drop_unread_neurons(graph: fx.Graph) -> fx.Graph:
    """Drop neurons until every one that is left is read, and everything else that nothing reads."""
    graph.eliminate_dead_code()
    while unread := _unread(graph):
        y, *following = outputs(graph)
        (output,) = graph.find_nodes(op="output")
        output.args = ((y, *(value for value in following if operand(value, 0) not in unread)),)
        graph.eliminate_dead_code()
        for state in graph.find_nodes(op="placeholder")[1:]:
            if not state.users:
                graph.erase_node(state)
    return graph


def _unread(graph: fx.Graph) -> list[fx.Node]:
    """The neurons of which nothing but the next state is used."""
    _, *following = outputs(graph)
    return [node for node in neuron_calls(graph) if all(user in following for user in node.users)]
