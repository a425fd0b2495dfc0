"""Dropping operators that give what they are given.

    x.float(), x.to(y), x.type_as(y), where x has that type   ->   x
    x[:, 0:], which is all of x                               ->   x
    the copy that is made of a constant written in forward    ->   the constant

Exact. A cast of another type than the network's own stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from snnconv.ir.nodes import operand, shape, target

_ATEN = torch.ops.aten
_CASTS = (_ATEN.to, _ATEN._to_copy, _ATEN.type_as)
_LIFTS = (_ATEN.lift_fresh_copy.default, _ATEN.lift_fresh.default, _ATEN.detach_.default)


def drop_no_ops(graph: fx.Graph) -> fx.Graph:
    """Put the operand into the place of each such operator."""
    for node in list(graph.nodes):
        if target(node) in _LIFTS or _casts_to_own_type(node) or _is_whole_slice(node):
            node.replace_all_uses_with(operand(node, 0))
            graph.erase_node(node)
    return graph


def _casts_to_own_type(node: fx.Node) -> bool:
    return getattr(target(node), "overloadpacket", None) in _CASTS and _value(node).dtype == _value(operand(node, 0)).dtype


def _is_whole_slice(node: fx.Node) -> bool:
    return target(node) is _ATEN.slice.Tensor and node.args[4:] in ((), (1,)) and shape(node) == shape(operand(node, 0))


def _value(node: fx.Node) -> Tensor:
    value: Tensor = node.meta["val"]
    return value
