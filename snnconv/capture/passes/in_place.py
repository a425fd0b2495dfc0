"""Replacing operators that change their input in place by those that return a new value.

    out.add_(identity); use(out)   ->   sum = out.add(identity); use(sum)

Exact, as long as no other name for the same memory is read afterwards; if one is, the network is refused.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.errors import Refused
from snnconv.ir.nodes import operand, target

_ATEN = torch.ops.aten


def replace_in_place(graph: fx.Graph) -> fx.Graph:
    """Replace every in-place operator.

    Raises `Refused` if another name for the changed memory is read afterwards, or if torch has no operator to replace it by.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
            continue
        changed, plain = operand(node, 0), _plain_operator(node.target)
        aliases = [alias for alias in _aliases(changed) if alias not in (changed, node)]
        if plain is None or any(order[user] > order[node] for alias in aliases for user in alias.users):
            raise Refused(f"the network changes a value in place, in {node.target}", "write it without the in-place operator")
        for user in [user for user in changed.users if order[user] > order[node]]:
            user.replace_input_with(changed, node)
        node.target = plain
    return graph


def _plain_operator(in_place: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """The operator that returns what `in_place` would write, None if there is none."""
    name = in_place._schema.name.removeprefix("aten::")
    plain = getattr(_ATEN, name.removesuffix("_"), None) if name.endswith("_") else None
    return getattr(plain, in_place._overloadname, None)


def _aliases(node: fx.Node) -> list[fx.Node]:
    """Every value that may share its memory with that of `node`, itself included."""
    base = node
    while _is_view(base):
        base = operand(base, 0)
    aliases = [base]
    for value in aliases:
        aliases += [user for user in value.users if _is_view(user) and operand(user, 0) is value]
    return aliases


def _is_view(node: fx.Node) -> bool:
    operator = target(node)
    if not isinstance(operator, torch._ops.OpOverload):
        return False
    return any(returned.alias_info is not None and not returned.alias_info.is_write for returned in operator._schema.returns)
