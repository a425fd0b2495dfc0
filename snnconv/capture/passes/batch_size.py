"""Dropping the batch size from a graph, so that it holds for every batch.

    y.view(x.shape[0], 48)                      ->   y.view(-1, 48)
    y.expand(x.shape[0], 4, -1)                 ->   y.expand(-1, 4, -1)          where y has that batch already
    token.expand(x.shape[0], -1, -1)            ->   over_batch(token, x, 0)
    torch.zeros(x.shape[0], 4, 8)               ->   over_batch(torch.full([1, 4, 8], 0), x, 0)

Exact: the sizes of the other dimensions are fixed, so the batch size follows from them, and a constant is repeated as often as
there are samples. A multiple of the batch size is taken in the same way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.nodes import argument, call_before, operand, refused_at, shape, target
from snnconv.ir.over_batch import OVER_BATCH

_ATEN = torch.ops.aten
_RESHAPES = (_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default, _ATEN.unflatten.int)
_EXPANSIONS = (_ATEN.expand.default, _ATEN.broadcast_to.default)
_REPETITIONS = (_ATEN.repeat.default, _ATEN.tile.default)
_FILLED = {
    _ATEN.zeros.default: 0.0,
    _ATEN.ones.default: 1.0,
    _ATEN.new_zeros.default: 0.0,
    _ATEN.new_ones.default: 1.0,
    # What they hold is written before it is read.
    _ATEN.empty.memory_format: 0.0,
    _ATEN.new_empty.default: 0.0,
}
_FULL = (_ATEN.full.default, _ATEN.new_full.default)


def drop_batch_size(graph: fx.Graph) -> fx.Graph:
    """Take the batch size out of reshapes, expansions and constants. Raises `Refused` if it is used in any other way."""
    graph.eliminate_dead_code()  # a rate that is kept for whoever asks depends on no output
    x = next(iter(graph.find_nodes(op="placeholder")))
    for node in list(graph.nodes):
        if not _reads_sizes(node) or _is_size(node):
            continue
        where = [i for i, size in enumerate(shape(node)) if not isinstance(size, int)] if _is_tensor(node) else []
        if len(where) != 1 or not _rewritten(node, x, where[0]):
            raise refused_at(
                node,
                f"the network computes with the batch size (in {target(node)}), so steps cannot be merged into the batch",
                "use it in reshapes, in expand and repeat, and for constants of that size only",
            )
    graph.eliminate_dead_code()
    return graph


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _is_size(node: fx.Node) -> bool:
    """Whether `node` gives a size, or something computed from sizes."""
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat)


def _reads_sizes(node: fx.Node) -> bool:
    return any(_is_size(value) for value in node.all_input_nodes)


def _rewritten(node: fx.Node, x: fx.Node, dim: int) -> bool:
    """Rewrite `node`, whose dimension `dim` alone holds samples, without the batch size; whether it could be done."""
    times = _multiple(shape(node)[dim], shape(x)[0])
    if times is None:
        return False
    if target(node) in _RESHAPES:
        node.target, node.args = _ATEN.reshape.default, (operand(node, 0), _without_batch(node, dim))
    elif target(node) in _EXPANSIONS and _holds(operand(node, 0), node, dim):
        node.target, node.args = _ATEN.expand.default, (operand(node, 0), _without_batch(node, dim))
    else:
        alone = _for_one_sample(node, x)
        if alone is None:
            return False
        constant = _over_batch(node, alone, x, dim, times)
        constant.meta["val"] = node.meta["val"]  # whose memory tells which values are views of it
        node.replace_all_uses_with(constant)
        node.graph.erase_node(node)
    return True


def _multiple(size: Any, batch: Any) -> int | None:
    """How many times the batch size a size is; None if it is no whole multiple."""
    symbol, expression = batch.node.expr, size.node.expr
    times = expression.subs(symbol, 1)
    return int(times) if times.is_Integer and times > 0 and expression == times * symbol else None


def _without_batch(node: fx.Node, dim: int) -> list[int]:
    return [-1 if i == dim else int(size) for i, size in enumerate(shape(node))]


def _holds(value: fx.Node, node: fx.Node, dim: int) -> bool:
    """Whether `value` has all the samples of `node`, which expands it, already."""
    own = dim - len(shape(node)) + len(shape(value))
    return own >= 0 and not isinstance(shape(value)[own], int)


def _for_one_sample(node: fx.Node, x: fx.Node) -> fx.Node | None:
    """What a constant that `node` makes is for a batch of one; None if `node` makes none."""
    if target(node) in (*_EXPANSIONS, *_REPETITIONS):
        return call_before(node, target(node), operand(node, 0), _sizes_at_one(argument(node, 1), x))
    if target(node) in (*_FILLED, *_FULL):
        # `new_zeros` and the like take a tensor first.
        given = node.args[1 if isinstance(node.args[0], fx.Node) else 0]
        value = _FILLED.get(target(node), node.args[-1])
        return call_before(node, _ATEN.full.default, _sizes_at_one(given, x), value, dtype=node.meta["val"].dtype)
    return None


def _sizes_at_one(sizes: Any, x: fx.Node) -> list[int]:
    """Sizes, some of which a node computes, for a batch of one."""
    batch = x.meta["val"].shape[0].node.expr
    return [int(size.meta["val"].node.expr.subs(batch, 1)) if isinstance(size, fx.Node) else int(size) for size in sizes]


def _over_batch(node: fx.Node, alone: fx.Node, x: fx.Node, dim: int, times: int) -> fx.Node:
    """`alone`, of size `times` in dimension `dim`, once for every sample, laid out as `node`."""
    if times == 1:
        return call_before(node, OVER_BATCH, alone, x, dim)
    apart = call_before(node, OVER_BATCH, call_before(node, _ATEN.unsqueeze.default, alone, dim), x, dim)
    return call_before(node, _ATEN.reshape.default, apart, _without_batch(node, dim))
