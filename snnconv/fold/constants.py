"""What in a graph is constant: everything that follows from stored tensors alone, evaluated in float64."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.default_type import numbers_in
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import tensors


@dataclass(frozen=True)
class Constant:
    """A value that does not depend on the input, and the path of a tensor behind it; `per_step`: its first dimension is time.

    `held` is a tensor, or several of them between an operator that cuts a constant and whoever takes a piece.
    """

    held: Any
    path: str
    per_step: bool = False

    @property
    def value(self) -> Any:
        """In float64, if it is a float. Converted at each reading: most constants are weights whose values no pass reads."""
        return self.held.double() if isinstance(self.held, Tensor) and self.held.is_floating_point() else self.held


def constants_of(graph: fx.GraphModule) -> dict[fx.Node, Constant]:
    """Every node whose value follows from stored tensors and numbers alone, through any operators (`weight * factor`)."""
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
    if not all(a in found for a in inputs):
        return False
    if node.target is operator.getitem:
        return not found[inputs[0]].per_step
    pure = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded not in node.target.tags
    value = node.meta.get("val")
    cuts = isinstance(value, tuple | list) and not any(found[a].per_step for a in inputs)
    return pure and (isinstance(value, Tensor) or cuts)


def _evaluated(node: fx.Node, found: dict[fx.Node, Constant]) -> Constant:
    inputs = [found[a] for a in node.all_input_nodes]
    path = inputs[0].path if inputs else node.name
    steps = [len(c.held) for c in inputs if c.per_step]
    if not steps:
        return Constant(_call(node, found, None), path)
    return Constant(torch.stack([_call(node, found, t) for t in range(min(steps))]), path, per_step=True)


def _call(node: fx.Node, found: dict[fx.Node, Constant], t: int | None) -> Any:
    def value(a: Any) -> Any:
        if not isinstance(a, fx.Node):
            return torch.float64 if a is torch.float32 else a
        constant = found[a]
        return constant.value[t] if constant.per_step and t is not None else constant.value

    target: Any = node.target
    args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), value)
    with numbers_in(torch.float64):
        return target(*args, **kwargs)
