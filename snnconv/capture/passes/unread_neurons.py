"""Dropping neurons and memories that nothing reads, with their states.

    (*outputs, *next_states)   ->   (*outputs, the next states of the neurons and memories that these depend on, now or later)

Exact: no output depends on them. What only an unread neuron or memory reads goes as well.
"""

from __future__ import annotations

from torch import fx

from snnconv.ir.nodes import reached, results


def drop_unread_neurons(graph: fx.Graph) -> fx.Graph:
    """Drop states until every one that is left is read, and everything else that nothing reads."""
    outputs, following = results(graph)
    _, *states = graph.find_nodes(op="placeholder")
    kept: list[tuple[fx.Node, fx.Node]] = []
    while True:
        needed = reached([*outputs, *(value for _, value in kept)], lambda node: node.all_input_nodes)
        read = [(state, value) for state, value in zip(states, following, strict=True) if state in needed]
        if len(read) == len(kept):
            break
        kept = read
    (output,) = graph.find_nodes(op="output")
    output.args = ((*outputs, *(value for _, value in kept)),)
    graph.eliminate_dead_code()
    for state in states:
        if state not in {state for state, _ in kept}:
            graph.erase_node(state)
    return graph
