"""Pools that only torch has become pools that every format has; no norm is touched, so there is no site.

An average pool with a divisor of its own becomes a plain one and a factor (`rounding`):

    before   y = sum(window) / d
    after    y = mean(window) * (n / d)       n values in a window; those beyond the border are zeros and count

A last window that hangs over the padded border (`ceil_mode`) gets its zeros by a padding in front. `ceil_mode` goes if it adds
windows to no side, because torch drops one that would see nothing but padding and ONNX does not (`exact`).

A 3-D average pool to a size that divides its input's, which no exporter knows, becomes one with windows of that size (`exact`).
"""

from __future__ import annotations

import math

import torch
from torch import fx

from snnconv.fold.editing import edited, remove, rewritten
from snnconv.fold.passes import FoldPass
from snnconv.ir.nodes import argument, operand, shape, target
from snnconv.ir.operators import OPERATORS, Pool
from snnconv.ir.program import SpikingProgram
from snnconv.ir.rounding_rules import spread

_ATEN = torch.ops.aten
_ADAPTIVE = _ATEN.adaptive_avg_pool3d.default


class PlainPools(FoldPass):
    """Rewrites each pool that names what it divides by, or of which ONNX would count the windows differently."""

    name = "plain-pools"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program with plain pools."""
        graph = edited(program)
        for node in graph.graph.find_nodes(op="call_function", target=_ADAPTIVE):
            windows = _equal_windows(node)
            if windows is not None:
                node.target, node.args = _ATEN.avg_pool3d.default, (operand(node, 0), windows)
        for pool in _pools(graph):
            if pool.divisor is not None:
                pool.divide(pool.divisor)
            elif pool.loses_windows:
                pool.node.args = (*pool.node.args[: pool.ceil_at], False, *pool.node.args[pool.ceil_at + 1 :])
        return rewritten(program, graph, [])

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a pool is left that only torch has."""
        left = [pool.node.name for pool in _pools(program.graph) if pool.divisor is not None or pool.loses_windows]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _equal_windows(node: fx.Node) -> list[int] | None:
    """The windows of a pool to a size, if all are of one size and none overlaps another."""
    sizes = list(zip(shape(operand(node, 0))[-3:], shape(node)[-3:], strict=True))
    return [size // out for size, out in sizes] if all(size % out == 0 for size, out in sizes) else None


class _Call:
    """A call of a pool and its windows, one number per dimension each."""

    def __init__(self, node: fx.Node, pool: Pool) -> None:
        self.node, self.dims = node, pool.dims
        self.ceil_at = 5 if pool.maximum else 4
        self.kernel = spread(argument(node, 1), pool.dims)
        self.stride = spread(argument(node, 2) or self.kernel, pool.dims)
        self.padding = spread(argument(node, 3, 0), pool.dims)
        self.ceil = bool(argument(node, self.ceil_at, False))
        self.divisor: int | None = None if pool.maximum else argument(node, 6)
        self.dilation = spread(argument(node, 4, 1) if pool.maximum else 1, pool.dims)

    @property
    def loses_windows(self) -> bool:
        """Whether rounding up would add windows that torch drops, and adds no other."""
        if not self.ceil:
            return False
        dropped = [math.ceil((size + 2 * p - span) / s) + 1 > out for size, out, span, s, p in self._sides()]
        return any(dropped) and not any(self.over())

    def over(self) -> list[int]:
        """How far the last window hangs over the padded border, per dimension."""
        return [max((out - 1) * s + span - size - 2 * p, 0) for size, out, span, s, p in self._sides()]

    def _sides(self) -> list[tuple[int, int, int, int, int]]:
        """Per dimension: size, size of the output, span of a window, stride, padding."""
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        x, y = (shape(node)[-self.dims :] for node in (operand(self.node, 0), self.node))
        return list(zip(x, y, spans, self.stride, self.padding, strict=True))

    def divide(self, divisor: int) -> None:
        """Put a plain pool and a factor in the place of this one."""
        node, x, padding, over = self.node, operand(self.node, 0), self.padding, self.over()
        with node.graph.inserting_before(node):
            if any(over):
                pairs = zip(reversed(padding), reversed(over), strict=True)
                x = node.graph.call_function(_ATEN.pad.default, (x, [width for p, more in pairs for width in (p, p + more)]))
                padding = [0] * self.dims
            mean = node.graph.call_function(target(node), (x, self.kernel, self.stride, padding, False, True))
            y = node.graph.call_function(_ATEN.mul.Tensor, (mean, math.prod(self.kernel) / divisor))
        for made in (mean, y):
            made.meta["val"] = node.meta["val"]
        remove(node, y)


def _pools(graph: fx.GraphModule) -> list[_Call]:
    found = ((node, OPERATORS.pool(node)) for node in graph.graph.nodes)
    return [_Call(node, pool) for node, pool in found if pool is not None]
