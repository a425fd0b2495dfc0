"""Batch norm that neither a layer nor a neuron can take becomes a plain scale and shift.

    before   y = batch_norm(x)
    after    y = scale * x + shift        per channel, two elementwise operators

Constants in float64, rounded once: `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from snnconv.fold.passes import NormCall, batch_norms, edited, norm_calls, per_channel, rewritten
from snnconv.program import SpikingProgram, put
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
        sites = [site for call in norm_calls(graph) for site in _rewrite(graph, call, program.dtype)]
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        left = [node.name for node in batch_norms(program.graph.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _rewrite(graph: fx.GraphModule, call: NormCall, dtype: torch.dtype) -> list[Site]:
    dims = len(call.node.meta["val"].shape) - 1
    value = call.input
    with graph.graph.inserting_before(call.node):
        for op, leaf, constant in ((_ATEN.mul.Tensor, "scale", call.scale), (_ATEN.add.Tensor, "shift", call.shift)):
            put(graph, f"{call.path}.{leaf}", per_channel(constant, dims).to(dtype))
            value = graph.graph.call_function(op, (value, graph.graph.get_attr(f"{call.path}.{leaf}")))
            value.meta["val"] = call.node.meta["val"]
    call.node.replace_all_uses_with(value)
    graph.graph.erase_node(call.node)
    return call.sites(call.path, ROUNDING, "plain scale and shift: no layer or neuron can take it")
