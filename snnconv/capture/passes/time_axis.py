"""Dropping a time axis of length one between layers that only know all time steps.

    squeeze(unsqueeze(x, 0), 0)             ->   x
    stack([x])                              ->   unsqueeze(x, 0)
    unbind(unsqueeze(x, 0))[0]              ->   x
    mean(x, [0]) and sum(x, [0]), one step  ->   squeeze(x, 0)
    repeat(x) and expand(x), same shape     ->   x

Exact: a mean or sum of one value is that value.
"""

from __future__ import annotations

import operator

import torch
from torch import fx

from snnconv.ir.nodes import argument, operand, shape, target

_ATEN = torch.ops.aten
_REPETITIONS = (_ATEN.repeat.default, _ATEN.expand.default)
_REDUCTIONS = (_ATEN.mean.dim, _ATEN.sum.dim_IntList)


def drop_time_axis(graph: fx.Graph) -> fx.Graph:
    """Take out time axes of one step that are taken away again at once."""
    for node in list(graph.nodes):
        if _repeats_once(node):
            _replace(graph, node, operand(node, 0))
            continue
        if target(node) is _ATEN.stack.default and len(argument(node, 0)) == 1 and argument(node, 1, 0) == 0:
            node.target, node.args = _ATEN.unsqueeze.default, (argument(node, 0)[0], 0)
        if (
            node.target is operator.getitem
            and target(operand(node, 0)) is _ATEN.unbind.int
            and argument(operand(node, 0), 1, 0) == 0
        ):
            inner = operand(operand(node, 0), 0)
            if target(inner) is _ATEN.unsqueeze.default and argument(inner, 1) == 0:
                _replace(graph, node, operand(inner, 0))
                continue
        if _reduces_one_step(node):
            node.target, node.args = _ATEN.squeeze.dim, (operand(node, 0), 0)
        if target(node) is _ATEN.squeeze.dim and argument(node, 1) == 0:
            inner = operand(node, 0)
            if target(inner) is _ATEN.unsqueeze.default and argument(inner, 1) == 0:
                _replace(graph, node, operand(inner, 0))
    return graph


def _replace(graph: fx.Graph, node: fx.Node, value: fx.Node) -> None:
    node.replace_all_uses_with(value)
    graph.erase_node(node)


def _repeats_once(node: fx.Node) -> bool:
    """Whether an image is repeated for one step, which keeps its shape."""
    return target(node) in _REPETITIONS and shape(node) == shape(operand(node, 0))


def _reduces_one_step(node: fx.Node) -> bool:
    if target(node) not in _REDUCTIONS or len(node.args) != 2 or list(argument(node, 1)) != [0]:
        return False
    steps = shape(operand(node, 0))[0]
    return isinstance(steps, int) and steps == 1  # a batch of any size is no int
