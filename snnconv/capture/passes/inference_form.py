"""Bringing operators that differ between training and inference into the form that they have at inference.

    dropout(x, 0.5, train=False), and its variants   ->   x
    rrelu(x, 0.1, 0.3, training=False)               ->   leaky_relu(x, 0.2)

Exact. What draws random numbers at inference too is left, and refused when norms are folded.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.ir.nodes import argument, operand, target
from snnconv.ir.program import is_random

_ATEN = torch.ops.aten
_DROPOUTS = (
    _ATEN.dropout,
    _ATEN.dropout_,
    _ATEN.alpha_dropout,
    _ATEN.alpha_dropout_,
    _ATEN.feature_dropout,
    _ATEN.feature_dropout_,
    _ATEN.feature_alpha_dropout,
    _ATEN.feature_alpha_dropout_,
)
_RRELU = (_ATEN.rrelu, _ATEN.rrelu_)


def bring_into_inference_form(graph: fx.Graph) -> fx.Graph:
    """Take out dropouts that do nothing, and put the leaky ReLU that it is at inference in the place of a randomised one."""
    for node in list(graph.nodes):
        kind = getattr(target(node), "overloadpacket", None)
        if is_random(node):
            continue
        if kind in _DROPOUTS:
            node.replace_all_uses_with(operand(node, 0))
            graph.erase_node(node)
        elif kind in _RRELU:
            slope = (argument(node, 1, 1 / 8) + argument(node, 2, 1 / 3)) / 2
            node.target = _ATEN.leaky_relu.default if kind is _ATEN.rrelu else _ATEN.leaky_relu_.default
            node.args, node.kwargs = (operand(node, 0), slope), {}
    return graph
