"""Batch norm that neither a layer nor a neuron can take becomes a plain scale and shift.

    before   y = batch_norm(x)
    after    y = scale * x + shift        per channel, two elementwise operators; per step where the norm was

Constants in float64, rounded once: `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from snnconv.fold.norm_calls import NormCall, batch_norms, for_steps, norm_calls
from snnconv.fold.passes import edited, rewritten
from snnconv.per_step import AT_STEP
from snnconv.program import SpikingProgram, put, tensors
from snnconv.results import ROUNDING, Site

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class FoldIntoScale:
    """Rewrites every norm that is left; runs after the passes that do better."""

    name: str = "plain-scale"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph = edited(program)
        sites = [site for call in norm_calls(graph) for site in _rewrite(graph, call, program)]
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        left = [node.name for node in batch_norms(program.graph.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _rewrite(graph: fx.GraphModule, call: NormCall, program: SpikingProgram) -> list[Site]:
    value = call.input
    scale, shift = for_steps(call, program.contract.timesteps)
    operators = ((_ATEN.mul.Tensor, "scale", scale, 1), (_ATEN.add.Tensor, "shift", shift, 0))
    with graph.graph.inserting_before(call.node):
        for op, leaf, constant, neutral in operators:
            if bool((constant == neutral).all()):
                continue
            path = _hold(graph, f"{call.layer}.{leaf}".lstrip("."), constant.to(program.dtype), call.node)
            read = graph.graph.get_attr(path)
            if call.per_step:
                read = graph.graph.call_function(AT_STEP, (read,))
            value = graph.graph.call_function(op, (value, read))
            value.meta["val"] = call.node.meta["val"]
    call.node.replace_all_uses_with(value)
    graph.graph.erase_node(call.node)
    return call.sites(call.path, ROUNDING, "plain scale and shift: no layer or neuron can take it")


def _hold(graph: fx.GraphModule, path: str, value: Tensor, node: fx.Node) -> str:
    """Hold `value` at `path`, or at a path of its own where that holds another: a norm may stand in several rows."""
    held = tensors(graph).get(path)
    if held is not None and not torch.equal(held, value):
        path = f"{path}_{node.name}"
    put(graph, path, value)
    return path
