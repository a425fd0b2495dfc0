"""What is left to do on the graph of one captured step: no batch size, nothing in place, no frames, no unread state."""

from __future__ import annotations

import operator
from typing import cast

import torch
from torch import fx

from snnconv.errors import Refused
from snnconv.ir.program import neuron_calls

_ATEN = torch.ops.aten
_RESHAPES = (_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default)
_REPETITIONS = (_ATEN.repeat.default, _ATEN.expand.default)
_REDUCTIONS = (_ATEN.mean.dim, _ATEN.sum.dim_IntList)
_SIZES = (_ATEN.sym_size.int,)


def clean(graph: fx.Graph) -> None:
    """Rewrite `graph` in place.

    Raises `Refused` if it computes with the batch size or a potential, or changes a value that others see.
    """
    _forget_batch_size(graph)
    _write_anew(graph)
    _drop_frames(graph)
    _drop_unread_neurons(graph)
    _ensure_membranes_unread(graph)


def _forget_batch_size(graph: fx.Graph) -> None:
    """Replace the batch size in reshapes by -1; refuse any other use of it."""
    for node in list(graph.nodes):
        sizes = [a for a in node.all_input_nodes if a.target in _SIZES]
        if not sizes:
            continue
        if node.target in _RESHAPES and node.args[1][0] in sizes and len(sizes) == 1:
            node.args = (node.args[0], [-1, *map(int, node.meta["val"].shape[1:])])
        elif node.target not in (operator.getitem,):
            raise Refused(
                f"the network computes with the batch size (in {node.target}), so steps cannot be merged into the batch",
                "write reshapes as x.flatten(1) or x.view(x.shape[0], ...)",
            )


def _write_anew(graph: fx.Graph) -> None:
    """Turn operators that change their input in place (`out += identity`) into those that return a new value.

    Raises `Refused` where another name for the same memory is read afterwards.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
            continue
        changed, name = node.args[0], node.target._schema.name.removeprefix("aten::")
        plain = getattr(_ATEN, name.removesuffix("_"), None)
        seen = [a for a in _same_memory(changed) if a not in (changed, node)]
        if plain is None or plain is getattr(_ATEN, name) or any(order[u] > order[node] for a in seen for u in a.users):
            raise Refused(f"the network changes a value in place, in {node.target}", "write it without the in-place operator")
        later = [user for user in changed.users if order[user] > order[node]]
        for user in later:
            user.replace_input_with(changed, node)
        node.target = getattr(plain, node.target._overloadname)


def _same_memory(node: fx.Node) -> list[fx.Node]:
    """Every value that may share its memory with that of `node`."""
    base = node
    while _is_view(base):
        base = cast(fx.Node, base.args[0])
    found = [base]
    for value in found:
        found += [user for user in value.users if _is_view(user) and user.args[0] is value]
    return found


def _is_view(node: fx.Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return any(returned.alias_info is not None and not returned.alias_info.is_write for returned in node.target._schema.returns)


def _drop_frames(graph: fx.Graph) -> None:
    """Leave out a time dimension of one step where it is taken away at once: between layers that only know all steps."""
    for node in list(graph.nodes):
        if _keeps_all(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
            continue
        if node.target in _REDUCTIONS and list(node.args[1]) == [0] and len(node.args) == 2 and _is_one_step(node.args[0]):
            node.target, node.args = _ATEN.squeeze.dim, (node.args[0], 0)
        inner = node.args[0] if node.target is _ATEN.squeeze.dim else None
        if inner is not None and inner.target is _ATEN.unsqueeze.default and inner.args[1] == node.args[1] == 0:
            node.replace_all_uses_with(inner.args[0])
            graph.erase_node(node)


def _keeps_all(node: fx.Node) -> bool:
    """An image repeated for one step."""
    return node.target in _REPETITIONS and tuple(node.meta["val"].shape) == tuple(node.args[0].meta["val"].shape)


def _is_one_step(node: fx.Node) -> bool:
    size = node.meta["val"].shape[0]
    return isinstance(size, int) and size == 1


def _ensure_membranes_unread(graph: fx.Graph) -> None:
    """Raise `Refused` where the network computes with a potential that one of its neurons returned."""
    for node in neuron_calls(graph):
        for value in node.users:
            if value.args[1] == 1 and any(user.op != "output" or user.args[0][0] is value for user in value.users):
                raise Refused(
                    f"the network computes with the membrane potential of {node.args[2]}",
                    "read the spikes out instead; a potential is no output of a spiking network on a device",
                )


def _drop_unread_neurons(graph: fx.Graph) -> None:
    """A neuron whose spikes nobody reads is no part of the network: it goes, with its state."""
    while True:
        graph.eliminate_dead_code()
        (output,) = graph.find_nodes(op="output")
        _, *following = output.args[0]
        unread = [n for n in neuron_calls(graph) if all(user in following for user in n.users)]
        if not unread:
            return
        kept = [value for value in following if value.args[0] not in unread]
        output.args = ((output.args[0][0], *kept),)
        graph.eliminate_dead_code()
        for node in graph.find_nodes(op="placeholder")[1:]:
            if not node.users:
                graph.erase_node(node)
