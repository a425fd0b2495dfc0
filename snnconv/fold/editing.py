"""The pieces that passes share: rewriting a graph, holding constants in it, describing thresholds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.nodes import argument
from snnconv.ir.program import SpikingProgram, put, share, tensors
from snnconv.results import Site


def per_channel(values: Tensor, dims: int) -> Tensor:
    """Lay `[C]` out as `[C, 1, ...]` with `dims` dimensions."""
    return values.view(-1, *[1] * (dims - 1))


def edited(program: SpikingProgram) -> fx.GraphModule:
    """A graph to rewrite in place, sharing the program's constants."""
    return share(program.graph)


def rewritten(program: SpikingProgram, graph: fx.GraphModule, sites: list[Site], **changes: Any) -> SpikingProgram:
    """The program after a pass: dead code and unused constants gone, its sites added."""
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    return replace(program, graph=share(graph), sites=(*program.sites, *sites), **changes)


def remove(node: fx.Node, value: fx.Node) -> None:
    """Take `node` out of its graph; whoever read it reads `value`."""
    node.replace_all_uses_with(value)
    node.graph.erase_node(node)


def hold(graph: fx.GraphModule, path: str, value: Tensor, user: fx.Node) -> fx.Node:
    """Hold `value` at `path`, or at a path of its own if another operator reads another value there, and read it for `user`."""
    readers = [n for node in graph.graph.find_nodes(op="get_attr", target=path) for n in node.users if n is not user]
    held = tensors(graph).get(path)
    if readers and held is not None and not (held.dtype == value.dtype and torch.equal(held, value)):
        path = f"{path}_{user.name}"
    put(graph, path, value)
    with graph.graph.inserting_before(user):
        return graph.graph.get_attr(path)


def is_zero(constant: Tensor) -> bool:
    """Whether a constant that is added adds nothing in single precision.

    Not asked in the program's own type: a fold in float64 must hold the same constants.
    """
    return not bool(constant.float().any())


def is_neuron_input(user: fx.Node, value: fx.Node) -> bool:
    """Whether `user` is a neuron whose current is `value`."""
    return user.target is NEURON_OP and argument(user, 0) is value


def describe_thresholds(threshold: Tensor, inverted: Tensor | None) -> str:
    """A line about folded thresholds: how many, their range, how many are inverted or constant."""
    finite = threshold[threshold.isfinite()]
    unit = "channels" if threshold.numel() == threshold.shape[0] else "elements"
    parts = [f"{threshold.numel()} {unit}"]
    if finite.numel():
        parts.append(f"thresholds {finite.min().item():.4g} to {finite.max().item():.4g}")
    flipped = 0 if inverted is None else int(inverted.sum())
    always, never = int((threshold == -math.inf).sum()), int((threshold == math.inf).sum())
    for count, word in ((flipped, "inverted"), (always, "always firing"), (never, "never firing")):
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)
