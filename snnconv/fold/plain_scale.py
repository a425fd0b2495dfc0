"""Batch norm that neither a layer nor a neuron can take becomes a plain scale and shift.

    before   y = batch_norm(x)
    after    y = scale * x + shift        per channel, two elementwise operators; per step if the norm was

Constants in float64, rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

from itertools import takewhile

import torch
from torch import fx

from snnconv.fold.editing import edited, hold, is_zero, remove, rewritten
from snnconv.fold.norm_calls import NormCall, batch_norms, for_steps, norm_calls
from snnconv.fold.passes import FoldPass, ordered
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import SpikingProgram
from snnconv.results import ROUNDING, Site

_ATEN = torch.ops.aten


class FoldIntoScale(FoldPass):
    """Rewrites every norm that is left; runs after the passes that do better."""

    name = "plain-scale"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """Every norm that is left as two operators of its own; its site says why nothing took it."""
        graph = edited(program)
        before = list(takewhile(lambda step: step.name != self.name, ordered()))
        sites = []
        for call in norm_calls(graph):
            reasons = dict.fromkeys(filter(None, (step.declines(call) for step in before)))
            sites += _rewrite(graph, call, program, "; ".join(reasons))
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a batch norm is left."""
        left = [node.name for node in batch_norms(program.graph.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _rewrite(graph: fx.GraphModule, call: NormCall, program: SpikingProgram, why: str) -> list[Site]:
    value = call.input
    scale, shift = for_steps(call, program.contract.timesteps)
    operators = ((_ATEN.mul.Tensor, "scale", scale, bool((scale == 1).all())), (_ATEN.add.Tensor, "shift", shift, is_zero(shift)))
    for op, leaf, constant, neutral in operators:
        if not neutral:
            read = hold(graph, f"{call.layer}.{leaf}".lstrip("."), constant, call.node)
            value = _applied(op, value, read, call)
    remove(call.node, value)
    return call.sites(call.path, ROUNDING, f"plain scale and shift: {why}")


def _applied(op: torch._ops.OpOverload, value: fx.Node, constant: fx.Node, call: NormCall) -> fx.Node:
    """`op` on `value` and a held constant, at its entry for each step if it has one per step."""
    with call.node.graph.inserting_before(call.node):
        if call.per_step:
            constant = call.node.graph.call_function(AT_STEP, (constant,))
        value = call.node.graph.call_function(op, (value, constant))
    value.meta["val"] = call.node.meta["val"]
    return value
