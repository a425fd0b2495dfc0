"""Lower to one time step: the states go in and come out, each neuron with its constants."""

from __future__ import annotations

from torch import fx

from snnconv.lower import ops
from snnconv.lower.graph import Lowered, neuron_arguments
from snnconv.program import SpikingProgram, neuron_calls, share


def lower_step(program: SpikingProgram) -> Lowered:
    """`(x, *states) -> (y, *next_states)`: read-out is left to the caller, who owns the loop."""
    graph = share(program.graph)
    for node in neuron_calls(graph.graph):
        current, state, name = node.args
        with graph.graph.inserting_before(node):
            arguments = neuron_arguments(graph, graph.graph, str(name), program.neurons[str(name)])
            lowered = graph.graph.call_function(ops.FIRE, (current, state, *arguments))
        node.replace_all_uses_with(lowered)
        graph.graph.erase_node(node)
    graph.graph.lint()
    shapes = {name: neuron.shape for name, neuron in program.neurons.items()}
    return Lowered(fx.GraphModule(graph, graph.graph), "step", program.contract, shapes)
