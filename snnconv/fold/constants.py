"""What in a graph is constant: everything that follows from stored tensors alone, evaluated in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.neuron import NEURON_OP
from snnconv.per_step import AT_STEP
from snnconv.program import tensors


@dataclass(frozen=True)
class Constant:
    """A value that does not depend on the input, and the path of a tensor behind it; `per_step`: its first dimension is time."""

    held: Tensor
    path: str
    per_step: bool = False

    @property
    def value(self) -> Tensor:
        """In float64, if it is a float: made where it is read, for most constants are weights that nobody asks for."""
        return self.held.double() if self.held.is_floating_point() else self.held


def constants_of(graph: fx.GraphModule) -> dict[fx.Node, Constant]:
    """Every node whose value follows from stored tensors alone, be it through several operators (`weight * factor`)."""
    held, found = tensors(graph), dict[fx.Node, Constant]()
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            found[node] = Constant(held[str(node.target)], str(node.target))
        elif node.target is AT_STEP and node.args[0] in found:
            found[node] = replace(found[node.args[0]], per_step=True)
        elif node.op == "call_function" and node.target is not NEURON_OP and _follows(node, found):
            found[node] = _evaluated(node, found)
    return found


def _follows(node: fx.Node, found: dict[fx.Node, Constant]) -> bool:
    inputs = node.all_input_nodes
    pure = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded not in node.target.tags
    return bool(inputs) and pure and all(a in found for a in inputs) and isinstance(node.meta.get("val"), Tensor)


def _evaluated(node: fx.Node, found: dict[fx.Node, Constant]) -> Constant:
    inputs = [found[a] for a in node.all_input_nodes]
    path = inputs[0].path
    steps = [len(c.held) for c in inputs if c.per_step]
    if not steps:
        return Constant(_call(node, found, None), path)
    return Constant(torch.stack([_call(node, found, t) for t in range(min(steps))]), path, per_step=True)


def _call(node: fx.Node, found: dict[fx.Node, Constant], t: int | None) -> Tensor:
    def value(a: fx.Node) -> Tensor:
        constant = found[a]
        return constant.value[t] if constant.per_step and t is not None else constant.value

    target: Any = node.target
    return target(*fx.map_arg(node.args, value), **fx.map_arg(node.kwargs, value))
