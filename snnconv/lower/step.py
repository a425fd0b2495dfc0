"""Lower to one time step: the states go in and come out, each neuron with its constants.

Where constants change from step to step, one more state counts the steps of each sample: `time_step`, int64 `[B]`, 0 at first.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.errors import Refused
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import TIME_STEP, SpikingProgram, neuron_calls, share
from snnconv.lower import ops
from snnconv.lower.graph import Lowered, neuron_arguments

_ATEN = torch.ops.aten


def lower_step(program: SpikingProgram) -> Lowered:
    """`(x, *states) -> (y, *next_states)`: read-out is left to the caller, who owns the loop.

    Raises `Refused` where a neuron bears the name of the step count.
    """
    graph = share(program.graph)
    count = _count_steps(graph.graph, program) if program.counts_steps else None
    for node in neuron_calls(graph.graph):
        current, state, name = node.args
        with graph.graph.inserting_before(node):
            arguments = neuron_arguments(graph, graph.graph, str(name), program)
            entries = [_entry(graph.graph, a, count) if _changes(graph, a, program, str(name)) else a for a in arguments]
            lowered = graph.graph.call_function(ops.FIRE, (current, state, *entries))
        node.replace_all_uses_with(lowered)
        graph.graph.erase_node(node)
    for node in [n for n in graph.graph.nodes if n.target is AT_STEP]:
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(_entry(graph.graph, node.args[0], count))
        graph.graph.erase_node(node)
    graph.graph.lint()
    shapes = {name: neuron.state_shape for name, neuron in program.neurons.items()}
    return Lowered(fx.GraphModule(graph, graph.graph), "step", program.contract, shapes, program.counts_steps)


def _count_steps(graph: fx.Graph, program: SpikingProgram) -> fx.Node:
    """One more state, which comes out larger by 1."""
    if TIME_STEP in program.neurons:
        raise Refused(f"a neuron is called {TIME_STEP}, as the count of steps is", "give the module another name")
    with graph.inserting_after(graph.find_nodes(op="placeholder")[-1]):
        count = graph.placeholder(TIME_STEP)
    (output,) = graph.find_nodes(op="output")
    with graph.inserting_before(output):
        following = graph.call_function(_ATEN.add.Tensor, (count, 1))
    output.args = ((*output.args[0], following),)
    return count


def _changes(graph: fx.GraphModule, argument: object, program: SpikingProgram, name: str) -> bool:
    if not isinstance(argument, fx.Node):
        return False
    return graph.get_buffer(str(argument.target)).dim() > len(program.neurons[name].shape) + 1


def _entry(graph: fx.Graph, constant: fx.Node, count: fx.Node | None) -> fx.Node:
    """The entries `[B, C, ...]` of a constant per step `[T, 1, C, ...]` at which the samples are. A step too many is an error."""
    entries = graph.call_function(_ATEN.index_select.default, (constant, 0, count))
    return graph.call_function(_ATEN.squeeze.dim, (entries, 1))
