"""Reading a graph node, whose arguments may be anything, as what it must be; putting another one in front of it.

The metadata of a node are `val`, a tensor without values of the shape and type of what it computes, and, if a line of the user's
code is behind it, `place`: that line in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from torch import fx

from snnconv.errors import Refused


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


def refused_at(node: fx.Node, what: str, todo: str) -> Refused:
    """A refusal that names the line of the user's code behind `node`, if it is known."""
    place = node.meta.get("place")
    return Refused(f"{what}, in {place}" if place else what, todo)


def call_before(node: fx.Node, operator: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """Call an operator in front of `node`, for which it is needed, in a graph as it was traced."""
    with node.graph.inserting_before(node):
        made = node.graph.call_function(operator, args, kwargs)
    made.meta = dict(node.meta)
    describe(made)
    return made


def describe(node: fx.Node) -> None:
    """Set the `val` of a node to what follows from those of its arguments, in a graph as it was traced."""
    operator, (x, *_) = target(node), node.graph.find_nodes(op="placeholder")
    args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), lambda a: a.meta["val"] if isinstance(a, fx.Node) else a)
    with x.meta["val"].fake_mode:
        node.meta["val"] = operator(*args, **kwargs)


class Results(NamedTuple):
    """What a graph `(x, *states) -> (*outputs, *next_states)` returns."""

    outputs: list[fx.Node]
    following: list[fx.Node]


def results(graph: fx.Graph) -> Results:
    """The outputs and the next states of a step graph: of these there are as many as it takes states. The rest are outputs."""
    (output,) = graph.find_nodes(op="output")
    returned, (_, *states) = list(_nodes(output.args[0])), graph.find_nodes(op="placeholder")
    first = len(returned) - len(states)
    return Results(returned[:first], returned[first:])


def _nodes(values: Any) -> Iterator[fx.Node]:
    for value in values:
        if not isinstance(value, fx.Node):
            raise TypeError(f"the graph returns {value!r}, no node")
        yield value


def reached(starts: Iterable[fx.Node], following: Callable[[fx.Node], list[fx.Node]]) -> set[fx.Node]:
    """The nodes that `starts` lead to, themselves included, each going on to its `following` ones."""
    found: set[fx.Node] = set()
    ahead = list(starts)
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += following(node)
    return found
