"""Pools that only torch has become pools that every format has; no norm is touched, so there is no site.

An average pool with a divisor of its own becomes a plain one and a factor (`rounding`):

    before   y = sum(window) / d
    after    y = mean(window) * (n / d)       n values in a window; those beyond the border are zeros and count

A last window that hangs over the padded border (`ceil_mode`) gets its zeros by a padding in front. `ceil_mode` goes if it adds
windows to no side, because torch drops one that would see nothing but padding and ONNX does not (`exact`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from snnconv.fold.passes import edited, remove, rewritten
from snnconv.ir.program import SpikingProgram

_ATEN = torch.ops.aten
_AVERAGES = {_ATEN.avg_pool1d.default: 1, _ATEN.avg_pool2d.default: 2, _ATEN.avg_pool3d.default: 3}
_MAXIMA = {_ATEN.max_pool1d.default: 1, _ATEN.max_pool2d.default: 2, _ATEN.max_pool3d.default: 3}


@dataclass(frozen=True)
class PlainPools:
    """Rewrites each pool that names what it divides by, or of which ONNX would count the windows differently."""

    name: str = "plain-pools"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph = edited(program)
        for pool in _pools(graph):
            if pool.divisor is not None:
                pool.divide(pool.divisor)
            elif pool.loses_windows:
                pool.node.args = (*pool.node.args[: pool.ceil_at], False, *pool.node.args[pool.ceil_at + 1 :])
        return rewritten(program, graph, [])

    def ensures(self, program: SpikingProgram) -> None:
        left = [pool.node.name for pool in _pools(program.graph) if pool.divisor is not None or pool.loses_windows]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


class _Pool:
    """A pool and its windows, one number per dimension each."""

    def __init__(self, node: fx.Node, dims: int) -> None:
        args: tuple[Any, ...] = node.args
        self.node, self.dims = node, dims
        self.ceil_at = 5 if node.target in _MAXIMA else 4
        self.kernel = spread(args[1], dims)
        self.stride = spread(args[2], dims) if len(args) > 2 and args[2] else self.kernel
        self.padding = spread(args[3] if len(args) > 3 else 0, dims)
        self.ceil = len(args) > self.ceil_at and bool(args[self.ceil_at])
        self.divisor: int | None = args[6] if node.target in _AVERAGES and len(args) > 6 else None
        self.dilation = spread(args[4] if node.target in _MAXIMA and len(args) > 4 else 1, dims)

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
        x, y = (n.meta["val"].shape[-self.dims :] for n in (self.node.args[0], self.node))
        return list(zip(x, y, spans, self.stride, self.padding, strict=True))

    def divide(self, divisor: int) -> None:
        """Put a plain pool and a factor in the place of this one."""
        node, x, padding, over = self.node, self.node.args[0], self.padding, self.over()
        with node.graph.inserting_before(node):
            if any(over):
                pairs = zip(reversed(padding), reversed(over), strict=True)
                x = node.graph.call_function(_ATEN.pad.default, (x, [width for p, more in pairs for width in (p, p + more)]))
                padding = [0] * self.dims
            mean = node.graph.call_function(node.target, (x, self.kernel, self.stride, padding, False, True))
            y = node.graph.call_function(_ATEN.mul.Tensor, (mean, math.prod(self.kernel) / divisor))
        for made in (mean, y):
            made.meta["val"] = node.meta["val"]
        remove(node, y)


def _pools(graph: fx.GraphModule) -> list[_Pool]:
    known = {**_AVERAGES, **_MAXIMA}
    return [_Pool(node, known[node.target]) for node in graph.graph.nodes if node.target in known]


def spread(sizes: int | Sequence[int], dims: int) -> list[int]:
    """An argument of a window as one number per dimension: torch takes one for all."""
    listed = [sizes] if isinstance(sizes, int) else list(sizes)
    return listed * dims if len(listed) == 1 else listed
