"""Replacing operators that change their input in place by those that return a new value.

    out.add_(identity); use(out)        ->   sum = out.add(identity); use(sum)
    x[:, :1] = edge; use(x)             ->   y = cat([edge, x[:, 1:]], 1); use(y)

Exact: what is written to a part of a tensor is put into the place of that part, and every other name for the same memory is
computed anew from the result.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.nodes import argument, call_before, describe, operand, refused_at, shape, target

_ATEN = torch.ops.aten
_TURNS = (_ATEN.transpose.int, _ATEN.t.default)
_RESHAPES = (
    _ATEN.view.default,
    _ATEN.view_as.default,
    _ATEN.reshape.default,
    _ATEN._unsafe_view.default,
    _ATEN.flatten.using_ints,
    _ATEN.unflatten.int,
    _ATEN.squeeze.default,
    _ATEN.squeeze.dim,
    _ATEN.squeeze.dims,
    _ATEN.unsqueeze.default,
    _ATEN.contiguous.default,
    _ATEN.alias.default,
    _ATEN.detach.default,
)


def replace_in_place(graph: fx.Graph) -> fx.Graph:
    """Replace every in-place operator.

    Raises `Refused` if torch has no operator to replace it by, or if it writes to a part whose place is not known.
    """
    views = {node for node in graph.nodes if _is_view(node)}
    for node in list(graph.nodes):
        if _changes(node):
            change = _replace_turned if torch.Tag.inplace_view in target(node).tags else _replace
            change(node, views)
    return graph


def _is_view(node: fx.Node) -> bool:
    """Whether the value of `node` is another name for memory of its operand, as it was traced."""
    if node.op != "call_function" or not isinstance(argument(node, 0), fx.Node) or _changes(node):
        return False
    memory = _memory(node)
    return bool(memory) and memory == _memory(operand(node, 0))


def _changes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _memory(node: fx.Node) -> set[Any]:
    """Which memory the tensors have that `node` gives, one or several."""
    value = node.meta.get("val")
    tensors = value if isinstance(value, list | tuple) else [value]
    return {tensor.untyped_storage()._cdata for tensor in tensors if isinstance(tensor, Tensor)}


def _replace(node: fx.Node, views: set[fx.Node]) -> None:
    """Replace one in-place operator, and let everything behind it see the change."""
    base, value = operand(node, 0), _new_value(node)
    while base in views:
        value = _written(node, base, value)
        base = _viewed(base)
    now = {base: value}
    for view in _views_of(base, views):
        with node.graph.inserting_before(node):
            now[view] = node.graph.node_copy(view, lambda a: now.get(a, a))
        describe(now[view])
        views.add(now[view])
    node.replace_all_uses_with(now[operand(node, 0)])
    for old, new in now.items():
        for user in _later_users(node, old):
            user.replace_input_with(old, new)
    node.graph.erase_node(node)


def _replace_turned(node: fx.Node, views: set[fx.Node]) -> None:
    """The same for an operator that changes the shape under which a tensor goes, as `unsqueeze_`: it is a view from then on."""
    changed, turned = operand(node, 0), call_before(node, _plain(node), *node.args, **node.kwargs)
    views.add(turned)
    node.replace_all_uses_with(turned)
    for user in _later_users(node, changed):
        user.replace_input_with(changed, turned)
    node.graph.erase_node(node)


def _later_users(node: fx.Node, value: fx.Node) -> list[fx.Node]:
    """What reads `value` behind `node`."""
    later = set(itertools.takewhile(lambda other: other is not node, reversed(node.graph.nodes)))
    return [user for user in value.users if user in later]


def _viewed(view: fx.Node) -> fx.Node:
    """The tensor of which `view` is a part."""
    value = operand(view, 0)
    return operand(value, 0) if isinstance(value.meta["val"], list | tuple) else value


def _views_of(base: fx.Node, views: set[fx.Node]) -> list[fx.Node]:
    """Every view of `base`, and the views of those, in the order in which they are computed."""
    found = {base}
    for node in base.graph.nodes:
        if node in views and operand(node, 0) in found:
            found.add(node)
    return [node for node in base.graph.nodes if node in found and node is not base]


def _new_value(node: fx.Node) -> fx.Node:
    """What `node` writes over the tensor that it changes, in front of it."""
    changed, kind = operand(node, 0), target(node).overloadpacket
    if kind is _ATEN.copy_:
        return _fitted(node, operand(node, 1))
    if kind is _ATEN.zero_ or (kind is _ATEN.fill_ and not isinstance(node.args[1], fx.Node)):
        return call_before(node, _ATEN.full_like.default, changed, argument(node, 1, 0))
    if kind is _ATEN.fill_:
        return _fitted(node, operand(node, 1))
    return _fitted(node, call_before(node, _plain(node), *node.args, **node.kwargs))


def _plain(node: fx.Node) -> torch._ops.OpOverload:
    """The operator that returns what `node` would write. Raises `Refused` if there is none."""
    name = target(node)._schema.name.removeprefix("aten::")
    packet = getattr(_ATEN, name.removesuffix("_"), None) if name.endswith("_") else None
    overloads = [getattr(packet, overload) for overload in packet.overloads()] if packet is not None else []
    plain = next((found for found in overloads if _taken(found) == _taken(target(node))), None)
    if plain is None:
        raise refused_at(
            node, f"the network changes a value in place, in {node.target}", "write it without the in-place operator"
        )
    return plain


def _taken(overload: torch._ops.OpOverload) -> list[str]:
    """The types of the arguments that an operator takes, in order."""
    return [str(a.type) for a in overload._schema.arguments]


def _fitted(node: fx.Node, value: fx.Node) -> fx.Node:
    """`value` in the type and shape of the tensor that `node` changes."""
    changed = operand(node, 0)
    dtype = changed.meta["val"].dtype
    if value.meta["val"].dtype != dtype:
        value = call_before(node, _ATEN.to.dtype, value, dtype)
    return value if shape(value) == shape(changed) else call_before(node, _ATEN.expand_as.default, value, changed)


def _written(node: fx.Node, view: fx.Node, value: fx.Node) -> fx.Node:
    """What `view` is a part of, with `value` in the place of that part."""
    whole, kind = _viewed(view), target(view)
    if kind in _TURNS:
        return call_before(node, kind, value, *view.args[1:])
    if kind is _ATEN.permute.default:
        dims = [dim % len(shape(whole)) for dim in argument(view, 1)]
        return call_before(node, kind, value, [dims.index(i) for i in range(len(dims))])
    if kind in _RESHAPES:
        sizes = [size if isinstance(size, int) else -1 for size in shape(whole)]
        return call_before(node, _ATEN.reshape.default, value, sizes)
    place = _place(view)
    if place is None or not isinstance(shape(whole)[place[0]], int):
        raise refused_at(
            node, f"the network changes a part of a value in place, behind {kind}", "write it without the in-place operator"
        )
    dim, start, step = place
    if len(shape(view)) < len(shape(whole)):
        value = call_before(node, _ATEN.unsqueeze.default, value, dim)
    size = int(shape(value)[dim])
    if step != 1:
        return call_before(node, _ATEN.slice_scatter.default, whole, value, dim, start, start + (size - 1) * step + 1, step)
    ranges = ((0, start), (start + size, int(shape(whole)[dim])))
    before, after = ([call_before(node, _ATEN.slice.Tensor, whole, dim, *ends)] if ends[0] < ends[1] else [] for ends in ranges)
    return call_before(node, _ATEN.cat.default, [*before, value, *after], dim) if before or after else value


def _place(view: fx.Node) -> tuple[int, int, int] | None:
    """Along which dimension `view` is cut out of the tensor, from where on and in which steps; None if it is no such part."""
    whole, kind = _viewed(view), target(view)
    if kind in (_ATEN.slice.Tensor, _ATEN.narrow.default, _ATEN.select.int):
        dim = argument(view, 1, 0) % len(shape(whole))
        start, size = argument(view, 2) or 0, shape(whole)[dim]
        start = max(start + size, 0) if isinstance(size, int) and start < 0 else start
        return dim, start, argument(view, 4, 1) if kind is _ATEN.slice.Tensor else 1
    if kind is operator.getitem:
        parts, number = operand(view, 0), argument(view, 1)
        unbinds = target(parts) is _ATEN.unbind.int
        given = argument(parts, 1, 0) if unbinds else argument(parts, 2, parts.kwargs.get("dim", 0))
        dim = given % len(shape(whole))
        before = [1 if unbinds else int(part.shape[dim]) for part in parts.meta["val"][:number]]
        return dim, sum(before), 1
    return None
