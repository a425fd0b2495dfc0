"""Lower to a whole sequence: each stateless operator runs once on all steps, only neurons walk over time.

Three regions of the step graph are told apart:

    still    does not depend on time (everything before the first neuron of a static input): runs once on `[B, ...]`
    timed    runs once on `[T * B, ...]`
    tail     after the last neuron and affine: runs once, after the read-out, because reducing over time commutes with it; of
             several outputs each has its own

What lies on a cycle through a memory runs step by step, on `[B, ...]` (`snnconv.lower.loops`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable
from functools import cached_property, partial
from typing import Any

import torch
from torch import fx

from snnconv.ir.neuron import NEURON_OP, NEXT_STATE, POTENTIAL
from snnconv.ir.nodes import argument, operand, results
from snnconv.ir.operators import OPERATORS
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import SpikingProgram, neuron_name, put, reads_potential, share, tensors
from snnconv.ir.starting import STARTING_FROM
from snnconv.lower import ops
from snnconv.lower.batch import BatchDimensions
from snnconv.lower.graph import Lowered, NeuronArguments, neuron_arguments
from snnconv.lower.loops import Loops

_ATEN = torch.ops.aten


def lower_sequence(program: SpikingProgram, form: str = "sequence", early_read_out: bool = True) -> Lowered:
    """`x -> y` over all steps of the program's contract, starting from a fresh state.

    Args:
        form: the name of the form.
        early_read_out: whether to read out before the tail, which then runs once, or behind everything.
    """
    graph = _Builder(program, early_read_out).build()
    return Lowered(graph, form, program.contract, program.state_shapes, program.counts_steps)


class _Builder:
    """Copies a step graph node by node into a sequence graph."""

    def __init__(self, program: SpikingProgram, early_read_out: bool) -> None:
        self.program, self.contract = program, program.contract
        self.graph = fx.Graph()
        self.root = torch.nn.Module()
        self.constants = tensors(program.graph)
        self.new: dict[fx.Node, fx.Node] = {}
        self.timed: set[fx.Node] = set()
        self.still: set[fx.Node] = set()
        remembered = self.loops.remembered()
        tail = _tail(program.graph.graph, self.contract.readouts.values(), self.batch.shared) if early_read_out else {}
        self.tail = {node: readout for node, readout in tail.items() if node not in remembered}
        self.reduced: dict[tuple[fx.Node, str], fx.Node] = {}
        self.sliced: dict[tuple[fx.Node, int], fx.Node] = {}

    def build(self) -> fx.GraphModule:
        """The sequence graph."""
        for group in self.loops.groups:
            if self.loops.is_loop(group):
                self._unroll(group)
            else:
                (node,) = group
                getattr(self, f"_{node.op}")(node)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        return share(fx.GraphModule(self.root, self.graph))

    def _placeholder(self, node: fx.Node) -> None:
        if node in self.loops.memories:
            self._joined(node, [self._recalled(node, t, {}) for t in range(self.contract.timesteps)])
            return
        if self.timed or self.still:
            return
        x = self.graph.placeholder("x")
        if self.contract.event:
            self.new[node] = self.graph.call_function(ops.MERGE_TIME, (x,))
            self.timed.add(node)
        else:
            self.new[node] = x
            self.still.add(node)

    def _get_attr(self, node: fx.Node) -> None:
        put(self.root, str(node.target), self.constants[str(node.target)])
        self.new[node] = self.graph.get_attr(str(node.target))

    def _call_function(self, node: fx.Node) -> None:
        if node.target is NEURON_OP:
            self._neuron(node)
        elif node.target is AT_STEP:
            inputs = (self.new[operand(node, 0)], self._x, self.contract.timesteps)
            self.new[node] = self.graph.call_function(ops.EACH_STEP, inputs)
            self.timed.add(node)
        elif node.target is STARTING_FROM:
            self._joined(node, [self._started(node, t, {}) for t in range(self.contract.timesteps)])
        elif node.target is operator.getitem and operand(node, 0).target is NEURON_OP:
            if argument(node, 1) != NEXT_STATE:
                self.new[node] = self._part_of_neuron(self.new[operand(node, 0)], argument(node, 1) == POTENTIAL)
                self.timed.add(node)
        else:
            self._stateless(node)

    def _neuron(self, node: fx.Node) -> None:
        current, name = operand(node, 0), str(argument(node, 2))
        arguments = neuron_arguments(self.root, self.graph, name, self.program)
        inputs = (self.new[current], *arguments, self.contract.timesteps, current not in self.timed)
        operator_ = ops.NEURON_READ_OVER_TIME if reads_potential(node) else ops.NEURON_OVER_TIME
        self.new[node] = self.graph.call_function(operator_, inputs)

    def _part_of_neuron(self, neuron: fx.Node, potential: bool) -> fx.Node:
        if neuron.target is ops.NEURON_OVER_TIME:
            return neuron
        return self._part(neuron, int(potential))

    def _stateless(self, node: fx.Node) -> None:
        in_tail = node in self.tail
        timed = not in_tail and (any(a in self.timed for a in node.all_input_nodes) or node in self.batch.shared)
        if timed:
            self.timed.add(node)
        elif any(a in self.still for a in node.all_input_nodes):
            self.still.add(node)
        pick: Callable[[fx.Node], fx.Node] = self._repeated if timed else self.new.__getitem__
        if in_tail:
            pick = partial(self._reduced, readout=self.tail[node])
        self.new[node] = self.graph.node_copy(node, pick)

    def _repeated(self, value: fx.Node) -> fx.Node:
        if value not in self.still:
            return self.new[value]
        return self._over_batch(value, ops.REPEAT_TIME, self.contract.timesteps)

    def _reduced(self, value: fx.Node, readout: str) -> fx.Node:
        if value not in self.timed:
            return self.new[value]
        if (value, readout) not in self.reduced:
            self.reduced[value, readout] = self._over_batch(value, ops.REDUCE_TIME, readout, self.contract.timesteps)
        return self.reduced[value, readout]

    def _over_batch(self, value: fx.Node, operator: Any, *arguments: Any) -> fx.Node:
        """An operator on time on the new form of `value`, the batch being brought to the front for it."""
        new, dim = self.new[value], self.batch.of.get(value, 0)
        if dim:
            new = self.graph.call_function(_ATEN.transpose.int, (new, 0, dim))
        new = self.graph.call_function(operator, (new, *arguments))
        return self.graph.call_function(_ATEN.transpose.int, (new, 0, dim)) if dim else new

    def _unroll(self, loop: list[fx.Node]) -> None:
        """Run the nodes of a loop step by step, and join what is read behind it."""
        steps: dict[fx.Node, list[fx.Node]] = {node: [] for node in loop}
        constants = {
            node: neuron_arguments(self.root, self.graph, neuron_name(node), self.program)
            for node in loop
            if node.target is NEURON_OP
        }
        for t in range(self.contract.timesteps):
            for node in loop:
                steps[node].append(self._at_step(node, t, steps, constants))
        for node, values in steps.items():
            if any(user not in steps for user in node.users):
                self._joined(node, values)

    def _at_step(
        self, node: fx.Node, t: int, steps: dict[fx.Node, list[fx.Node]], constants: dict[fx.Node, NeuronArguments]
    ) -> fx.Node:
        """A node of a loop at one step; `steps` are those of all nodes so far."""
        if node in self.loops.memories:
            return self._recalled(node, t, steps)
        if node.target is STARTING_FROM:
            return self._started(node, t, steps)

        def read(value: fx.Node) -> fx.Node:
            return steps[value][t] if value in steps else self._slice(value, t)

        if node.target is not NEURON_OP:
            return self.graph.node_copy(node, read)
        held, strict, soft, name = constants[node]
        dims = len(self.program.neurons[name].shape) + 1
        entries = [None if k is None else self._entry(k, t, dims) for k in held]
        shape = list(self.program.neurons[name].state_shape)
        state = self._part(steps[node][t - 1], NEXT_STATE) if t else self.graph.call_function(ops.ZEROS_FOR, (self._x, shape))
        return self.graph.call_function(ops.NEURON_STEP, (read(operand(node, 0)), state, entries, strict, soft, name))

    def _recalled(self, memory: fx.Node, t: int, steps: dict[fx.Node, list[fx.Node]]) -> fx.Node:
        """What step `t` finds in a memory."""
        left, name = self.loops.left[memory], self.loops.memories[memory]
        if not t:
            value = self.graph.call_function(ops.ZEROS_FOR, (self._x, list(self.program.memories[name])))
        else:
            value = steps[left][t - 1] if left in steps else self._slice(left, t - 1)
        return self.graph.call_function(ops.RECALLED, (value, name))

    def _started(self, node: fx.Node, t: int, steps: dict[fx.Node, list[fx.Node]]) -> fx.Node:
        """What step `t` finds in a memory that starts from a constant: at first that, added to the 0 that is there."""
        memory, first = operand(node, 0), operand(node, 1)
        found = steps[memory][t] if memory in steps else self._slice(memory, t)
        if t:
            return found
        start = steps[first][0] if first in steps else self._slice(first, 0)
        return self.graph.call_function(_ATEN.add.Tensor, (found, start))

    def _slice(self, value: fx.Node, t: int) -> fx.Node:
        """A value of all steps at one of them; any other as it is."""
        if value not in self.timed:
            return self.new[value]
        if (value, t) not in self.sliced:
            inputs = (self.new[value], self.batch.of.get(value, 0), t, self.contract.timesteps)
            self.sliced[value, t] = self.graph.call_function(ops.STEP_OF, inputs)
        return self.sliced[value, t]

    def _joined(self, node: fx.Node, steps: list[fx.Node]) -> None:
        """Take `node` as known at every step, from its values at each."""
        self.new[node] = self.graph.call_function(_ATEN.cat.default, (steps, self.batch.of.get(node, 0)))
        self.timed.add(node)

    def _entry(self, constant: fx.Node, t: int, dims: int) -> fx.Node:
        """The entry of step `t` of a constant that has one per step, any other as it is."""
        per_step = self.root.get_buffer(str(constant.target)).dim() > dims
        return self.graph.call_function(_ATEN.select.int, (constant, 0, t)) if per_step else constant

    def _part(self, value: fx.Node, which: int) -> fx.Node:
        return self.graph.call_function(operator.getitem, (value, which))

    @property
    def _x(self) -> fx.Node:
        return next(iter(self.graph.find_nodes(op="placeholder")))

    @cached_property
    def loops(self) -> Loops:
        """What runs step by step."""
        return Loops(self.program)

    @cached_property
    def batch(self) -> BatchDimensions:
        """Where the samples are in each value."""
        return BatchDimensions(self.program)

    def _output(self, node: fx.Node) -> None:
        outputs, _ = results(node.graph)
        read = zip(outputs, self.contract.readouts.values(), strict=True)
        self.graph.output(tuple(self._output_of(y, readout) for y, readout in read))

    def _output_of(self, y: fx.Node, readout: str) -> fx.Node:
        """An output read out. What is the same at every step, and was not read out yet, may be another thing summed or kept."""
        if y in self.still and readout in ("sum", "none"):
            self.new[y] = self._over_batch(y, ops.REPEAT_TIME, self.contract.timesteps)
            self.timed.add(y)
        found = self._reduced(y, readout)
        return self.graph.call_function(_ATEN.clone.default, (found,)) if found.op == "placeholder" else found


def _tail(graph: fx.Graph, readouts: Iterable[str], shared: Collection[fx.Node]) -> dict[fx.Node, str]:
    """The affine operators that only outputs of one readout depend on, found backwards from these, with that readout.

    Time can be taken out of what they read. It is a mean or the last step: in a sum, a bias would be counted once instead of T
    times, and `none` keeps every step.
    """
    returned: dict[fx.Node, set[str]] = {}
    for y, readout in zip(results(graph).outputs, readouts, strict=True):
        returned.setdefault(y, set()).add(readout)
    tail: dict[fx.Node, str] = {}
    for node in reversed(graph.nodes):
        ends = returned.get(node, set()) | {tail.get(user, "") for user in node.users if user.op != "output"}
        readable = not any(a in shared for a in node.all_input_nodes)
        if node.op == "call_function" and len(ends) == 1 and ends <= {"mean", "last"} and readable and _is_affine(node):
            (tail[node],) = ends
    return tail


def _is_affine(node: fx.Node) -> bool:
    row = OPERATORS.of(node)
    if row is None or row.affine != "first":
        return row is not None and row.affine == "all"
    rest: list[fx.Node] = []
    fx.map_arg((node.args[1:], node.kwargs), rest.append)
    return all(a.op == "get_attr" for a in rest)
