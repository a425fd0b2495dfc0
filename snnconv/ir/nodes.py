"""Reading the arguments of a graph node, which may be anything, as what they must be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx


def operand(node: fx.Node, i: int) -> fx.Node:
    """Argument `i` of `node`, which another node computes. Raises `TypeError` if it is a number or missing."""
    found = argument(node, i)
    if not isinstance(found, fx.Node):
        raise TypeError(f"argument {i} of {node.name} is {found!r}, no node")
    return found


def argument(node: fx.Node, i: int, default: Any = None) -> Any:
    """Argument `i` of `node`, or `default` if there are fewer."""
    return node.args[i] if i < len(node.args) else default


def target(node: fx.Node) -> Any:
    """What `node` calls or reads: an operator, or a path."""
    return node.target


def shape(node: fx.Node) -> tuple[int, ...]:
    """The shape `[B, ...]` of the value that `node` computes, B that of the capture."""
    return tuple(node.meta["val"].shape)


def outputs(graph: fx.Graph) -> list[fx.Node]:
    """What a step graph returns: y, then every next state."""
    (output,) = graph.find_nodes(op="output")
    return list(_nodes(output.args[0]))


def _nodes(values: Any) -> Iterator[fx.Node]:
    for value in values:
        if not isinstance(value, fx.Node):
            raise TypeError(f"the graph returns {value!r}, no node")
        yield value
