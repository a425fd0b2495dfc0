"""Dropping a time axis of length one from what only knows all time steps.

    squeeze(unsqueeze(x, 0), 0)             ->   x
    unbind(unsqueeze(x, 0))[0]              ->   x
    mean, sum and amax(x, [0]), one step    ->   squeeze(x, 0)
    max(unsqueeze(x, 0), 0)[0]              ->   x
    repeat(x) and expand(x), same shape     ->   x
    stack([x]), view(x, [1, *x.shape])      ->   unsqueeze(x, 0)
    view(unsqueeze(x, 0), x.shape)          ->   x
    unsqueeze(x, 0) * c                     ->   unsqueeze(x * squeeze(c, 0), 0), as for any operator on single values

Exact: a mean, sum or maximum of one value is that value.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from snnconv.ir.nodes import argument, call_before, describe, operand, shape, target

_ATEN = torch.ops.aten
_REPETITIONS = (_ATEN.repeat.default, _ATEN.expand.default)
_REDUCTIONS = (_ATEN.mean.dim, _ATEN.sum.dim_IntList, _ATEN.amax.default)
_VIEWS = (
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN._unsafe_view.default,
    _ATEN.flatten.using_ints,
    _ATEN.unflatten.int,
    _ATEN.squeeze.dim,
    _ATEN.unsqueeze.default,
)


def drop_time_axis(graph: fx.Graph) -> fx.Graph:
    """Take out time axes of one step that are taken away again."""
    steps: dict[fx.Node, fx.Node] = {}
    """What has a time axis of one step `[1, B, ...]`, and the node that computes it without `[B, ...]`."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if (without := _without_axis(node, steps)) is not None:
            _replace(graph, node, without)
        elif (only := _only_step(node)) is not None:
            steps[node] = only
        elif torch.Tag.pointwise in getattr(node.target, "tags", ()) and any(a in steps for a in node.all_input_nodes):
            _drop_before(node, steps)
    return graph


def _without_axis(node: fx.Node, steps: dict[fx.Node, fx.Node]) -> fx.Node | None:
    """The node that computes the same as `node`, which takes the time axis away, or repeats something once."""
    what = target(node)
    if what in _REPETITIONS and shape(node) == shape(operand(node, 0)):
        return operand(node, 0)
    if what is operator.getitem:
        pieces = operand(node, 0)
        over_time = target(pieces) is _ATEN.unbind.int and argument(pieces, 1, 0) == 0
        over_time |= target(pieces) is _ATEN.max.dim and argument(pieces, 1) == 0 and argument(node, 1) == 0
        step = steps.get(operand(pieces, 0)) if over_time else None
        return step if step is not None and shape(node) == shape(step) else None
    if _reduces_one_step(node):
        node.target, node.args = _ATEN.squeeze.dim, (operand(node, 0), 0)
    if target(node) not in (*_VIEWS, _ATEN.select.int):
        return None
    step = steps.get(operand(node, 0))
    selects = target(node) is not _ATEN.select.int or argument(node, 1) == 0
    return step if step is not None and selects and shape(node) == shape(step) else None


def _only_step(node: fx.Node) -> fx.Node | None:
    """The node to which `node` adds a time axis of one step."""
    if target(node) is _ATEN.stack.default and len(argument(node, 0)) == 1 and argument(node, 1, 0) == 0:
        node.target, node.args = _ATEN.unsqueeze.default, (argument(node, 0)[0], 0)
    if target(node) not in _VIEWS or shape(node) != (1, *shape(operand(node, 0))):
        return None
    return operand(node, 0)


def _drop_before(node: fx.Node, steps: dict[fx.Node, fx.Node]) -> None:
    """Compute `node`, an operator on single values, without the time axis, and add the axis behind it."""
    dims = len(shape(node))
    operands = node.all_input_nodes
    if not all(a in steps or len(shape(a)) < dims or shape(a)[0] == 1 for a in operands) or shape(node)[0] != 1:
        return
    if any(len(shape(a)) != dims for a in operands if a in steps):
        return

    def one(a: fx.Node) -> fx.Node:
        if a in steps:
            return steps[a]
        return call_before(node, _ATEN.squeeze.dim, a, 0) if len(shape(a)) == dims else a

    args: Any = fx.map_arg(node.args, one)
    kwargs: Any = fx.map_arg(node.kwargs, one)
    step = call_before(node, target(node), *args, **kwargs)
    node.target, node.args, node.kwargs = _ATEN.unsqueeze.default, (step, 0), {}
    describe(node)
    steps[node] = step


def _replace(graph: fx.Graph, node: fx.Node, value: fx.Node) -> None:
    node.replace_all_uses_with(value)
    graph.erase_node(node)


def _reduces_one_step(node: fx.Node) -> bool:
    if target(node) not in _REDUCTIONS or len(node.args) != 2 or list(argument(node, 1)) != [0]:
        return False
    steps = shape(operand(node, 0))[0]
    return isinstance(steps, int) and steps == 1  # a batch of any size is no int
