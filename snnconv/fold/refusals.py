"""What cannot be folded is refused by name, before anything is done.

A norm folds because at inference it is an affine map with stored constants. One that takes its statistics from the batch or
from the sample it is given is not, one that draws random numbers is not even a function, and leaving either in would break the
promise that no norm is left. A constant per step folds where it scales or shifts, not where it does anything else.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.fold.constants import constants_of
from snnconv.fold.norm_calls import norm_path, scales_per_step
from snnconv.fold.passes import FoldPass, FoldRefused
from snnconv.ir.nodes import argument, target
from snnconv.ir.program import BATCH_NORM, SpikingProgram, is_random
from snnconv.results import REFUSED, Site

_ATEN = torch.ops.aten
_SAMPLE_NORMS = {
    _ATEN.layer_norm.default: "LayerNorm",
    _ATEN.group_norm.default: "GroupNorm",
    _ATEN.instance_norm.default: "InstanceNorm",
    _ATEN.rms_norm.default: "RMSNorm",
}


class RefuseUnfoldable(FoldPass):
    """Requires that every norm is an affine map with stored constants; changes nothing."""

    name = "refuse-unfoldable"

    def requires(self, program: SpikingProgram) -> None:
        """Raise `FoldRefused`, with every site that cannot be folded."""
        refused = [site for node in program.graph.graph.nodes if (site := _refusal(node)) is not None]
        refused += _misused_steps(program.graph)
        if refused:
            raise FoldRefused(tuple(refused))

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program as it is."""
        return program


def _refusal(node: fx.Node) -> Site | None:
    if node.target in _SAMPLE_NORMS:
        kind = _SAMPLE_NORMS[node.target]
        reason = "its statistics are those of each input, so it is no constant to fold"
        if node.target is _ATEN.instance_norm.default and not argument(node, 5):
            reason = "instance norm with running statistics is not supported; use batch norm"
        return Site(node.name, kind, "", REFUSED, reason)
    if node.target is BATCH_NORM and (argument(node, 5) or not isinstance(argument(node, 3), fx.Node)):
        reason = "it keeps no running statistics and normalises by each batch (track_running_stats=False)"
        return Site(norm_path(node), "BatchNorm", "", REFUSED, reason)
    if is_random(node):
        name = target(node)._schema.name.partition("::")[2]
        return Site(
            node.name, name, "", REFUSED, "it draws random numbers at inference, so two runs differ and nothing can be equal"
        )
    return None


def _misused_steps(graph: fx.GraphModule) -> list[Site]:
    """Constants per step that something reads which neither scales, shifts nor normalises."""
    constants = constants_of(graph)
    sites = []
    for node in graph.graph.nodes:
        mine = [constants[a] for a in node.all_input_nodes if a in constants and constants[a].per_step]
        if not mine or node in constants or node.target is BATCH_NORM or scales_per_step(node, constants):
            continue
        reason = f"{node.target} reads it, but only a scale, a shift or a batch norm can change from step to step"
        sites.append(Site(mine[0].path, "per-step constant", "", REFUSED, reason))
    return sites
