"""The layer that a norm goes into: its weight and bias, read and given anew."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from snnconv.fold.editing import hold
from snnconv.ir.nodes import argument, operand, shape
from snnconv.ir.operators import OPERATORS


def has_stored_weights(op: fx.Node) -> bool:
    """Whether the weight of a layer, and its bias if it has one, are stored, not computed from the input."""
    given = [a for a in (argument(op, 1), argument(op, 2)) if a is not None]
    return all(isinstance(a, fx.Node) and a.op == "get_attr" for a in given)


def works_on_channels(op: fx.Node) -> bool:
    """Whether the channels of a layer's result are dimension 1: a linear layer works on the last one."""
    layer = OPERATORS.layer(op)
    return layer is not None and len(shape(op)) == layer.dims + 2


def has_bias(op: fx.Node) -> bool:
    """Whether a layer adds a bias."""
    return argument(op, 2) is not None


def pads(op: fx.Node) -> bool:
    """Whether a convolution pads its input with zeros."""
    padding: Any = argument(op, 4, 0)
    if isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, list | tuple) else bool(padding)


def groups(op: fx.Node) -> int:
    """The groups of a convolution, transposed or not; 1 for a linear layer."""
    return int(argument(op, 6, 1))


def paths(op: fx.Node) -> tuple[str, str, str]:
    """Of a layer: its path, or that of its weight if it has none; the path of the weight; that of a bias."""
    weight = str(operand(op, 1).target)
    layer = weight.rpartition(".")[0]
    bias = str(operand(op, 2).target) if has_bias(op) else f"{layer}.bias" if layer else f"{weight}_bias"
    return layer or weight, weight, bias


def give(graph: fx.GraphModule, op: fx.Node, folded: dict[str, Tensor]) -> None:
    """Give the layer that `op` calls a new weight and, if there are two tensors, a new bias."""
    nodes = [hold(graph, path, value, op) for path, value in folded.items()]
    op.args = (op.args[0], *nodes, *op.args[1 + len(nodes) :])
