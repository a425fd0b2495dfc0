"""Lower to one time step: the states go in and come out, each neuron with its constants.

If constants change from step to step, or a memory does not start from 0, one more state counts the steps of each sample:
`time_step`, int64 `[B]`, 0 at first. So every state is 0 before the first step.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import fx

from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron
from snnconv.ir.nodes import operand, results, shape
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import TIME_STEP, SpikingProgram, neuron_calls, neuron_name, share
from snnconv.ir.starting import STARTING_FROM
from snnconv.lower import ops
from snnconv.lower.graph import Lowered, neuron_arguments

_ATEN = torch.ops.aten


def lower_step(program: SpikingProgram) -> Lowered:
    """`(x, *states) -> (*outputs, *next_states)`: read-out is left to the caller, who owns the loop.

    Raises `Refused` if a neuron bears the name of the step count.
    """
    module = share(program.graph)
    graph = module.graph
    count = _count_steps(graph, program) if program.counts_steps else None
    for node in neuron_calls(graph):
        name = neuron_name(node)
        with graph.inserting_before(node):
            constants, strict, soft, _ = neuron_arguments(module, graph, name, program)
            entries = [_entry(graph, a, count) if _per_step(a, module, program.neurons[name]) else a for a in constants]
            inputs = (operand(node, 0), operand(node, 1), entries, strict, soft, name)
            _replace(node, graph.call_function(ops.NEURON_STEP, inputs))
    for node in graph.find_nodes(op="call_function", target=AT_STEP):
        with graph.inserting_before(node):
            _replace(node, _entry(graph, operand(node, 0), count))
    for node in graph.find_nodes(op="call_function", target=STARTING_FROM):
        with graph.inserting_before(node):
            _replace(node, _started(graph, node, count))
    _name_once(graph)
    graph.lint()
    return Lowered(fx.GraphModule(module, graph), "step", program.contract, program.state_shapes, program.counts_steps)


def _name_once(graph: fx.Graph) -> None:
    """Return a copy of what is an input, or is returned twice: a format may have but one name for a value."""
    (output,) = graph.find_nodes(op="output")
    values: list[fx.Node] = []
    with graph.inserting_before(output):
        outputs, following = results(graph)
        for value in (*outputs, *following):
            named = value.op == "placeholder" or value in values
            values.append(graph.call_function(_ATEN.clone.default, (value,)) if named else value)
    output.args = (tuple(values),)


def _replace(node: fx.Node, by: fx.Node) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _count_steps(graph: fx.Graph, program: SpikingProgram) -> fx.Node:
    """Add the state that counts steps, which is returned larger by 1; gives what reads it."""
    if TIME_STEP in program.neurons:
        raise Refused(f"a neuron is called {TIME_STEP}, as the count of steps is", "give the module another name")
    outputs, following = results(graph)
    with graph.inserting_after(graph.find_nodes(op="placeholder")[-1]):
        count = graph.placeholder(TIME_STEP)
    (output,) = graph.find_nodes(op="output")
    with graph.inserting_before(output):
        counted = graph.call_function(_ATEN.add.Tensor, (count, 1))
    output.args = ((*outputs, *following, counted),)
    return count


def _started(graph: fx.Graph, node: fx.Node, count: fx.Node | None) -> fx.Node:
    """What is found in a memory `[B, ...]` that starts from a constant: that one, where no step has been counted."""
    memory, first = operand(node, 0), operand(node, 1)
    fresh = graph.call_function(_ATEN.eq.Scalar, (count, 0))
    apart = graph.call_function(_ATEN.reshape.default, (fresh, [-1, *[1] * (len(shape(memory)) - 1)]))
    return graph.call_function(_ATEN.where.self, (apart, first, memory))


def _per_step(constant: fx.Node | None, module: fx.GraphModule, neuron: Neuron) -> TypeGuard[fx.Node]:
    """Whether a neuron's constant is there and has one entry per step."""
    return constant is not None and module.get_buffer(str(constant.target)).dim() > len(neuron.shape) + 1


def _entry(graph: fx.Graph, constant: fx.Node, count: fx.Node | None) -> fx.Node:
    """The entries `[B, C, ...]` of a constant per step `[T, 1, C, ...]` at which the samples are. A step too many is an error."""
    entries = graph.call_function(_ATEN.index_select.default, (constant, 0, count))
    return graph.call_function(_ATEN.squeeze.dim, (entries, 1))
