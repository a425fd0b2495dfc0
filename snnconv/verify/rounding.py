"""The rounding bound of a potential: how far two correct float32 computations of one sum may lie apart.

For a sum of n products, |computed - exact| <= lambda * sqrt(n) * u * sum |w| |x| holds with probability at least
1 - 2 exp(-lambda^2 / 2) per sum, where u = 2^-24 (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019, model of independent rounding
errors of mean zero). With lambda = 8 that is 1 - 2.6e-14. The sum of magnitudes is computed, not estimated: the same graph runs
on absolute values, with |W|, |b| and, for a norm, |scale| * (magnitude + |mean|) + |beta|.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.errors import Refused
from snnconv.fold.constants import Constant, constants_of
from snnconv.fold.linear_norm import LINEAR_OPS, TRANSPOSED
from snnconv.fold.norm_calls import affine, batch_norms
from snnconv.neuron import NEURON_OP
from snnconv.program import BATCH_NORM, SpikingProgram

LAMBDA = 8.0
UNIT = 2.0**-24

_ATEN = torch.ops.aten
_SUMS_OVER_WEIGHT = frozenset(LINEAR_OPS + TRANSPOSED)
_AVERAGES = {
    _ATEN.avg_pool1d.default,
    _ATEN.avg_pool2d.default,
    _ATEN.adaptive_avg_pool1d.default,
    _ATEN.adaptive_avg_pool2d.default,
    _ATEN.mean.dim,
    _ATEN.sum.dim_IntList,
}
_PRODUCTS = {_ATEN.matmul.default, _ATEN.bmm.default, _ATEN.mm.default}
_PLAIN = {
    _ATEN.add.Tensor,
    _ATEN.mul.Tensor,
    _ATEN.cat.default,
    _ATEN.flatten.using_ints,
    _ATEN.unflatten.int,
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN.permute.default,
    _ATEN.transpose.int,
    _ATEN.relu.default,
    _ATEN.dropout.default,
    _ATEN.max_pool2d.default,
    _ATEN.clone.default,
    _ATEN.contiguous.default,
    _ATEN.slice.Tensor,
    _ATEN.select.int,
    _ATEN.chunk.default,
    _ATEN.split.Tensor,
    _ATEN.squeeze.dim,
    _ATEN.unsqueeze.default,
    _ATEN.max_pool1d.default,
    _ATEN.pad.default,
}


class Magnitudes(fx.Interpreter):
    """Runs a step graph on absolute values, spikes given, any number of times.

    After `measure`, `current[name]` is the magnitude `[B, ...]` of the current into each neuron and `terms[name]` the number of
    its rounding errors; the entry `""` is the output's.
    """

    def __init__(self, program: SpikingProgram) -> None:
        super().__init__(program.graph)
        self.neurons = len(program.neurons)
        self.current: dict[str, Tensor] = {}
        self.terms: dict[str, int] = {}
        self._spikes: dict[str, Tensor] = {}
        constants = constants_of(program.graph)
        self._constants = {node: _largest(held.value, held.per_step, program.dtype) for node, held in constants.items()}
        self._norms = {call: _norm(call, constants, program.dtype) for call in batch_norms(program.graph.graph)}
        self._terms: dict[fx.Node, int] = {}
        self._sizes: dict[fx.Node, int] = {}

    def measure(self, x: Tensor, spikes: dict[str, Tensor]) -> None:
        """Run one step on `x` `[B, ...]`, every neuron spiking as `spikes` (0 and 1) say."""
        self._spikes = spikes
        self.run(x, *[None] * self.neurons)

    def run_node(self, n: fx.Node) -> Any:
        if n in self._constants:
            self._sizes[n] = self._constants[n].numel()
            return self._constants[n]
        inputs = [self._terms.get(a, 0) for a in n.all_input_nodes]
        # The relative errors of the factors of a product add up.
        before = sum(inputs) if n.target in _PRODUCTS or n.target is _ATEN.mul.Tensor else max(inputs, default=0)
        result = super().run_node(n) if n not in self._norms else self._normalised(n)
        if n.target is NEURON_OP:
            self.terms[str(n.args[2])] = before
            before = 0
        self._terms[n] = before + self._own_terms(n, result)
        self._sizes[n] = result.numel() if isinstance(result, Tensor) else 0
        if n.op == "output":
            self.terms[""] = before
        return result

    def placeholder(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return _absolute(super().placeholder(target, args, kwargs))

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is NEURON_OP:
            self.current[args[2]] = args[0]
            return self._spikes[args[2]], None
        if target is _ATEN.sub.Tensor:
            target = _ATEN.add.Tensor
        known = target in _SUMS_OVER_WEIGHT | _AVERAGES | _PRODUCTS | _PLAIN or not isinstance(target, torch._ops.OpOverload)
        if not known:
            raise Refused(f"no rounding bound is known for {target}", "the verdict would be a guess")
        # Values and parameters are absolute already: only a number in the call can make the result negative.
        result = super().call_function(target, args, kwargs)
        return _absolute(result) if any(isinstance(a, int | float) and a < 0 for a in args) else result

    def _normalised(self, node: fx.Node) -> Tensor:
        scale, shift = self._norms[node]
        return torch.addcmul(shift, self.env[node.args[0]], scale)

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        self.current[""] = args[0][0]

    def _own_terms(self, node: fx.Node, result: Any) -> int:
        if node.target in _SUMS_OVER_WEIGHT:
            if node.args[1] not in self._constants:
                raise Refused(f"no rounding bound is known for {node.target} with a weight that depends on the input")
            weight = self._constants[node.args[1]]
            return (weight[:, 0] if node.target in TRANSPOSED else weight[0]).numel() + 1
        if node.target in _PRODUCTS:
            return self.env[node.args[0]].shape[-1]
        if node.target in _AVERAGES:
            return math.ceil(self._sizes[node.args[0]] / max(result.numel(), 1)) + 1
        return 4 if node.target is BATCH_NORM else 1 if node.op == "call_function" else 0


def _norm(node: fx.Node, constants: dict[fx.Node, Constant], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm on magnitudes, at their largest over time, laid out as its input."""
    gamma, beta = (constants[a].value.abs() if isinstance(a, fx.Node) else None for a in node.args[1:3])
    mean, var = (constants[a].value.abs() for a in node.args[3:5])
    # Nothing cancels: the mean is added, not taken away.
    scale, shift = affine(gamma, beta, -mean, var, float(node.args[7]))
    layout = (-1, *[1] * (len(node.meta["val"].shape) - 2))
    scale, shift = (_largest(t, t.dim() > 1, dtype).view(layout) for t in (scale, shift))
    return scale, shift


def _largest(value: Tensor, per_step: bool, dtype: torch.dtype) -> Tensor:
    """The magnitude of a constant, at its largest over time if it has one entry per step."""
    if not value.is_floating_point():
        return value
    return (value.abs().amax(0) if per_step else value.abs()).to(dtype)


def _absolute(value: Any) -> Any:
    return value.abs() if isinstance(value, Tensor) else value


def allowance(terms: int) -> float:
    """How far two float32 computations of a sum of `terms` products may lie apart, per unit of its magnitude."""
    return 2 * LAMBDA * math.sqrt(terms + 2) * UNIT


def bound(magnitude: Tensor, terms: int) -> Tensor:
    """The same for sums of that magnitude: each of the two computations may err by the bound above."""
    return allowance(terms) * magnitude + torch.finfo(torch.float32).tiny
