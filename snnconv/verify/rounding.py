"""The rounding bound of a potential: how far two correct float32 computations of one sum may lie apart.

For a sum of n products, |computed - exact| <= lambda * sqrt(n) * u * sum |w| |x| holds with probability at least
1 - 2 exp(-lambda^2 / 2) per sum, where u = 2^-24 (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019, model of independent rounding
errors of mean zero). With lambda = 8 that is 1 - 2.6e-14. The sum of magnitudes is computed, not estimated: the same graph runs
on absolute values, with |W|, |b| and, for a norm, |scale| * (magnitude + |mean|) + |beta|.

How an operator rounds is in the table of operators. The error of one without a row, or whose rule does not hold there (a division
by a value that depends on the input), is measured: `snnconv.verify.measured`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.fold.constants import Constant, constants_of
from snnconv.fold.norm_calls import affine, batch_norms
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.nodes import argument, operand, results, shape
from snnconv.ir.operators import OPERATORS
from snnconv.ir.program import SpikingProgram, reads_potentials
from snnconv.ir.rounding_rules import Rounding
from snnconv.verify.masks import as_mask
from snnconv.verify.measured import UNREAD, Inputs, Spread, measure

LAMBDA = 8.0
UNIT = 2.0**-24


class Magnitudes(fx.Interpreter):
    """Runs a step graph on absolute values, spikes given, any number of times.

    After `measure`, `current[name]` is the magnitude `[B, ...]` of the current into each neuron and `terms[name]` the number of
    its rounding errors; `outputs` and `output_terms` are those of each output. `measured` holds the names, fixed from the start,
    of the neurons whose bound rests on an operator without a rule, `measured_outputs` says of which outputs it does, and
    `unruled` holds those operators.
    """

    def __init__(self, program: SpikingProgram) -> None:
        super().__init__(program.graph)
        self.neurons, self.memories = len(program.neurons), tuple(program.memories)
        self.left: dict[str, Tensor] = {}
        self._reads_potentials = reads_potentials(program.graph.graph)
        self.current: dict[str, Tensor] = {}
        self.terms: dict[str, int] = {}
        self.outputs: list[Tensor] = []
        self.output_terms: list[int] = []
        self._spikes: dict[str, Tensor] = {}
        self._potentials: dict[str, Tensor] = {}
        self._terms: dict[fx.Node, int] = {}
        constants, nodes = constants_of(program.graph), list(program.graph.graph.nodes)
        self._constants = {node: _magnitude(held, program.dtype) for node, held in constants.items()}
        self._least = {node: _magnitude(held, program.dtype, least=True) for node, held in constants.items()}
        self._norms = {call: _norm(call, constants, program.dtype) for call in batch_norms(program.graph.graph)}
        self._rules = {node: rule for node in nodes if (rule := self._rule(node)) is not None}
        unruled = [node for node in nodes if self._is_measured(node)]
        self.unruled = tuple(sorted({str(node.target) for node in unruled}))
        self._inputs = Inputs(program, unruled)
        rests = self._resting_on_measured(program.graph.graph)
        self.measured = frozenset(str(node.args[2]) for node in rests if node.target is NEURON_OP)
        self.measured_outputs = tuple(y in rests and y.target is not NEURON_OP for y in results(program.graph.graph).outputs)

    def _rule(self, node: fx.Node) -> Rounding | None:
        """How `node` rounds, if the table says so and what the rule assumes holds here."""
        row = OPERATORS.of(node)
        if row is None or row.rounding is None or any(self._is_computed_integer(a) for a in node.all_input_nodes):
            return None
        chosen = (node.args[i] for i in row.rounding.constants if i < len(node.args))
        return row.rounding if all(a in self._constants for a in chosen if isinstance(a, fx.Node)) else None

    def _is_computed_integer(self, node: fx.Node) -> bool:
        """Whether `node` gives integers or booleans that depend on the input: absolute values do not tell which."""
        value = node.meta.get("val")
        return isinstance(value, Tensor) and not value.is_floating_point() and node not in self._constants

    def _is_measured(self, node: fx.Node) -> bool:
        known = node in self._constants or node in self._norms or node in self._rules or node.target is NEURON_OP
        return node.op == "call_function" and not known and bool(node.users)

    def _resting_on_measured(self, graph: fx.Graph) -> set[fx.Node]:
        """The nodes whose bound rests on an operator without a rule: what a neuron gives does not, though its current may."""
        rests: set[fx.Node] = set()
        for node in graph.nodes:
            behind = any(a in rests and a.target is not NEURON_OP for a in node.all_input_nodes)
            if node.op != "output" and (behind or self._is_measured(node)):
                rests.add(node)
        return rests

    def measure(
        self,
        frames: Sequence[Tensor],
        spikes: Mapping[str, Sequence[Tensor]],
        potentials: Mapping[str, Sequence[Tensor]] = UNREAD,
        memories: Mapping[str, Sequence[Tensor]] = UNREAD,
    ) -> None:
        """Run on the frames `[B, ...]` of all steps, every neuron with the spikes and potentials and every memory with the values
        given, one `[B, ...]` per step.

        One magnitude serves all steps: all of these are taken at their largest over time, which never makes it smaller.
        Raises `Refused` if an operator without a rule does not run in float64.
        """
        largest = reduce(torch.maximum, (frame.abs() for frame in frames))
        self._spikes = {name: reduce(torch.logical_or, map(as_mask, fired)).to(largest.dtype) for name, fired in spikes.items()}
        read = potentials if self._reads_potentials else {}
        self._potentials = {name: reduce(torch.maximum, (u.abs() for u in us)) for name, us in read.items()}
        self._inputs.see(frames, spikes, potentials, memories)
        kept = [reduce(torch.maximum, (value.abs() for value in memories[name])) for name in self.memories]
        self.run(largest, *[None] * self.neurons, *kept)

    def run_node(self, n: fx.Node) -> Any:
        """The magnitude of what `n` gives; notes the number of its rounding errors."""
        if n in self._constants:
            return self._constants[n]
        if n.op == "call_function" and not n.users:
            return None
        if n in self._inputs.of:
            self._terms[n] = 1
            return self._measured(n)
        rule = self._rules.get(n)
        before = self._terms_before(n, rule)
        if n.target is NEURON_OP:
            self.terms[str(n.args[2])] = before
            before = 0
        result = self._normalised(n) if n in self._norms else self._by_rule(n, rule) if rule else super().run_node(n)
        self._terms[n] = before + self._own_terms(n, rule)
        if n.op == "output":
            outputs, following = results(n.graph)
            self.output_terms = [self._terms.get(value, 0) for value in outputs]
            left = zip(self.memories, following[self.neurons :], strict=True)
            self.terms |= {name: self._terms.get(value, 0) for name, value in left}
        return result

    def _terms_before(self, node: fx.Node, rule: Rounding | None) -> int:
        inputs: list[int] = []
        fx.map_arg((node.args, node.kwargs), lambda a: inputs.append(self._terms.get(a, 0)))
        return sum(inputs) if rule is not None and rule.multiplies else max(inputs, default=0)

    def _own_terms(self, node: fx.Node, rule: Rounding | None) -> int:
        """How many roundings an operator adds to those of its inputs."""
        if rule is not None:
            return rule.terms(*self._arguments(node, rule))
        return 4 if node in self._norms else 1 if node.target is NEURON_OP else 0

    def placeholder(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The magnitude of an input."""
        value = super().placeholder(target, args, kwargs)
        return value.abs() if isinstance(value, Tensor) else value

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A neuron: keep the magnitude of its current, and give its spikes and potential."""
        self.current[args[2]] = args[0]
        return self._spikes[args[2]], None, self._potentials.get(args[2])

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep the magnitudes of the outputs, and of what is left in the memories."""
        (returned,) = args
        following = len(returned) - len(self.memories)
        self.outputs = list(returned[: following - self.neurons])
        self.left = dict(zip(self.memories, returned[following:], strict=True))

    def _arguments(self, node: fx.Node, rule: Rounding) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of `node`, tensors and the numbers that the rule names by their magnitudes."""

        def value(place: int | str, argument: Any) -> Any:
            if isinstance(argument, fx.Node):
                return self._least[argument] if place in rule.divisors else self.env[argument]
            nested = fx.map_arg(argument, self.env.__getitem__)
            return abs(nested) if place in rule.numbers and isinstance(nested, int | float) else nested

        args = tuple(value(i, argument) for i, argument in enumerate(node.args))
        return args, {name: value(name, argument) for name, argument in node.kwargs.items()}

    def _by_rule(self, node: fx.Node, rule: Rounding) -> Any:
        return rule.magnitude(node.target, *self._arguments(node, rule))

    def _normalised(self, node: fx.Node) -> Tensor:
        scale, shift = self._norms[node]
        (x, *_) = node.all_input_nodes
        return torch.addcmul(shift, self.env[x], scale)

    def _measured(self, node: fx.Node) -> Any:
        """A magnitude of one rounding error that gives the measured bound, for every tensor that `node` gives."""
        moved = {a: bound(self.env[a], self._terms.get(a, 0)).double() for a in self._moving(node)}
        found = [_covering(one) for one in measure(node, self._inputs.of[node], moved)]
        return found[0] if isinstance(node.meta.get("val"), Tensor) else found

    def _moving(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of `node` that depend on the network's input and are real numbers."""
        real = [a for a in node.all_input_nodes if isinstance(self.env[a], Tensor) and self.env[a].is_floating_point()]
        return [a for a in real if a not in self._constants]


def _norm(node: fx.Node, constants: dict[fx.Node, Constant], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm on magnitudes, at their largest over time, laid out as its input."""
    gamma, beta = (constants[a].value.abs() if isinstance(a, fx.Node) else None for a in node.args[1:3])
    mean, var = (constants[operand(node, i)].value.abs() for i in (3, 4))
    # Nothing cancels: the mean is added, not taken away.
    scale, shift = affine(gamma, beta, -mean, var, float(argument(node, 7)))
    layout = (-1, *[1] * (len(shape(node)) - 2))
    scale, shift = (_over_time(t, t.dim() > 1, dtype).view(layout) for t in (scale, shift))
    return scale, shift


def _covering(found: Spread) -> Tensor:
    """A magnitude that, of one rounding error, allows for what was measured; integers and booleans come as they are."""
    if not found.value.is_floating_point():
        return found.value
    return (found.largest + found.error / allowance(1)).to(found.value.dtype)


def _magnitude(constant: Constant, dtype: torch.dtype, least: bool = False) -> Any:
    """The magnitude of a constant; at its largest over time, or its least, if it has one entry per step."""
    value = constant.value
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return _over_time(value, constant.per_step, dtype, least)


def _over_time(value: Tensor, per_step: bool, dtype: torch.dtype, least: bool = False) -> Tensor:
    if per_step:
        return (value.abs().amin(0) if least else value.abs().amax(0)).to(dtype)
    return value.abs().to(dtype)


def allowance(terms: int) -> float:
    """How far two float32 computations of a sum of `terms` products may lie apart, per unit of its magnitude."""
    return 2 * LAMBDA * math.sqrt(terms + 2) * UNIT


def bound(magnitude: Tensor, terms: int) -> Tensor:
    """The same for sums of that magnitude: each of the two computations may err by the bound above."""
    return allowance(terms) * magnitude + torch.finfo(torch.float32).tiny
