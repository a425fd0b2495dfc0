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
from snnconv.fold.plain_pools import spread
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.program import BATCH_NORM, SpikingProgram

LAMBDA = 8.0
UNIT = 2.0**-24

_ATEN = torch.ops.aten
_SUMS_OVER_WEIGHT = frozenset(LINEAR_OPS + TRANSPOSED)
_WINDOWS = {
    _ATEN.avg_pool1d.default: 1,
    _ATEN.avg_pool2d.default: 2,
    _ATEN.avg_pool3d.default: 3,
}
_ADAPTIVE = {_ATEN.adaptive_avg_pool1d.default, _ATEN.adaptive_avg_pool2d.default, _ATEN.adaptive_avg_pool3d.default}
_REDUCTIONS = {_ATEN.mean.dim, _ATEN.sum.dim_IntList}
_AVERAGES = frozenset(_WINDOWS) | _ADAPTIVE | _REDUCTIONS
_PRODUCTS = {_ATEN.matmul.default, _ATEN.bmm.default, _ATEN.mm.default}
_SCALARS = {
    _ATEN.add.Tensor: (0, 1),
    _ATEN.sub.Tensor: (0, 1),
    _ATEN.rsub.Scalar: (0, 1),
    _ATEN.mul.Tensor: (0, 1),
    _ATEN.div.Tensor: (0, 1),
    _ATEN.pad.default: (3,),
}
"""Which arguments of an operator are values, so that a number there counts by its magnitude; `alpha` is one as well."""
_PLAIN = {
    _ATEN.cat.default,
    _ATEN.flatten.using_ints,
    _ATEN.unflatten.int,
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN.permute.default,
    _ATEN.transpose.int,
    _ATEN.relu.default,
    _ATEN.dropout.default,
    _ATEN.clone.default,
    _ATEN.contiguous.default,
    _ATEN.slice.Tensor,
    _ATEN.select.int,
    _ATEN.chunk.default,
    _ATEN.split.Tensor,
    _ATEN.squeeze.dim,
    _ATEN.unsqueeze.default,
    _ATEN.max_pool1d.default,
    _ATEN.max_pool2d.default,
    _ATEN.max_pool3d.default,
}
_DIFFERENCES = {_ATEN.sub.Tensor, _ATEN.rsub.Scalar}
_KNOWN = {_ATEN.prelu.default} | _SUMS_OVER_WEIGHT | _AVERAGES | _PRODUCTS | _SCALARS.keys() | _PLAIN


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
        self._constants = {node: _magnitude(held, program.dtype) for node, held in constants.items()}
        by = {node: constants.get(node.args[1]) for node in program.graph.graph.nodes if node.target is _ATEN.div.Tensor}
        self._divisors = {node: _magnitude(held, program.dtype, least=True) for node, held in by.items() if held is not None}
        self._norms = {call: _norm(call, constants, program.dtype) for call in batch_norms(program.graph.graph)}
        self._terms: dict[fx.Node, int] = {}

    def measure(self, x: Tensor, spikes: dict[str, Tensor]) -> None:
        """Run one step on `x` `[B, ...]`, every neuron spiking as `spikes` (0 and 1) say."""
        self._spikes = spikes
        self.run(x, *[None] * self.neurons)

    def run_node(self, n: fx.Node) -> Any:
        if n in self._constants:
            return self._constants[n]
        inputs = [self._terms.get(a, 0) for a in n.all_input_nodes]
        # The relative errors of the factors of a product add up.
        before = sum(inputs) if n.target in _PRODUCTS or n.target is _ATEN.mul.Tensor else max(inputs, default=0)
        result = self._normalised(n) if n in self._norms else self._divided(n) if n in self._divisors else super().run_node(n)
        if n.target is NEURON_OP:
            self.terms[str(n.args[2])] = before
            before = 0
        self._terms[n] = before + self._own_terms(n)
        if n.op == "output":
            self.terms[""] = before
        return result

    def placeholder(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return _absolute(super().placeholder(target, args, kwargs))

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is NEURON_OP:
            self.current[args[2]] = args[0]
            return self._spikes[args[2]], None
        if target is _ATEN.div.Tensor and isinstance(args[1], Tensor):
            raise Refused(f"no rounding bound is known for {target} by a value that depends on the input", "it may be near zero")
        if target not in _KNOWN and isinstance(target, torch._ops.OpOverload):
            raise Refused(f"no rounding bound is known for {target}", "the verdict would be a guess")
        args = tuple(_size(a) if i in _SCALARS.get(target, ()) else a for i, a in enumerate(args))
        kwargs = {name: _size(a) if name in ("alpha", "value") else a for name, a in kwargs.items()}
        if target is _ATEN.rsub.Scalar:
            args, kwargs = (args[0] * kwargs.get("alpha", 1), args[1]), {}
        if target is _ATEN.prelu.default:
            return torch.maximum(args[0], -super().call_function(target, (-args[0], args[1]), kwargs))
        result = super().call_function(_ATEN.add.Tensor if target in _DIFFERENCES else target, args, kwargs)
        # A pool may divide by a negative number.
        return _absolute(result) if target in _WINDOWS else result

    def _normalised(self, node: fx.Node) -> Tensor:
        scale, shift = self._norms[node]
        return torch.addcmul(shift, self.env[node.args[0]], scale)

    def _divided(self, node: fx.Node) -> Tensor:
        return self.env[node.args[0]] / self._divisors[node]

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        self.current[""] = args[0][0]

    def _own_terms(self, node: fx.Node) -> int:
        """How many roundings an operator adds to those of its inputs."""
        if node.target in _SUMS_OVER_WEIGHT:
            if node.args[1] not in self._constants:
                raise Refused(f"no rounding bound is known for {node.target} with a weight that depends on the input")
            weight = self._constants[node.args[1]]
            return (weight[:, 0] if node.target in TRANSPOSED else weight[0]).numel() + 1
        if node.target in _PRODUCTS:
            return self.env[node.args[0]].shape[-1]
        if node.target in _AVERAGES:
            return _window(node, self.env[node.args[0]].shape) + 1
        if node.target in _DIFFERENCES or node.target is _ATEN.add.Tensor:
            return 1 + len(node.kwargs)
        return 4 if node.target is BATCH_NORM else 1 if node.op == "call_function" else 0


def _window(node: fx.Node, shape: torch.Size) -> int:
    """The most values of an input of that shape that one average or sum adds up."""
    given: Any = node.args[1]
    if node.target in _WINDOWS:
        return math.prod(spread(given, _WINDOWS[node.target]))
    if node.target in _ADAPTIVE:
        return math.prod(_adaptive(size, out or size) for size, out in zip(shape[-len(given) :], given, strict=True))
    dims = range(len(shape)) if given is None or given == [] else [given] if isinstance(given, int) else given
    return math.prod(shape[dim] for dim in dims)


def _adaptive(size: int, out: int) -> int:
    """The longest of the `out` windows into which an adaptive pool divides `size` values."""
    return max(-(-(i + 1) * size // out) - i * size // out for i in range(out))


def _norm(node: fx.Node, constants: dict[fx.Node, Constant], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm on magnitudes, at their largest over time, laid out as its input."""
    gamma, beta = (constants[a].value.abs() if isinstance(a, fx.Node) else None for a in node.args[1:3])
    mean, var = (constants[a].value.abs() for a in node.args[3:5])
    # Nothing cancels: the mean is added, not taken away.
    scale, shift = affine(gamma, beta, -mean, var, float(node.args[7]))
    layout = (-1, *[1] * (len(node.meta["val"].shape) - 2))
    scale, shift = (_over_time(t, t.dim() > 1, dtype).view(layout) for t in (scale, shift))
    return scale, shift


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


def _size(value: Any) -> Any:
    return abs(value) if isinstance(value, int | float) else value


def _absolute(value: Any) -> Any:
    return value.abs() if isinstance(value, Tensor) else value


def allowance(terms: int) -> float:
    """How far two float32 computations of a sum of `terms` products may lie apart, per unit of its magnitude."""
    return 2 * LAMBDA * math.sqrt(terms + 2) * UNIT


def bound(magnitude: Tensor, terms: int) -> Tensor:
    """The same for sums of that magnitude: each of the two computations may err by the bound above."""
    return allowance(terms) * magnitude + torch.finfo(torch.float32).tiny
