"""Norms that depend on the input: nothing to fold, so they are refused by name.

A norm folds because at inference it is an affine map with stored constants. One that takes its statistics from the batch or
from the sample it is given is not, and leaving it in would break the promise that no norm is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from snnconv.fold.passes import BATCH_NORM, FoldRefused, norm_path
from snnconv.program import SpikingProgram
from snnconv.results import REFUSED, Site

_ATEN = torch.ops.aten
_SAMPLE_NORMS = {
    _ATEN.layer_norm.default: "LayerNorm",
    _ATEN.group_norm.default: "GroupNorm",
    _ATEN.instance_norm.default: "InstanceNorm",
    _ATEN.rms_norm.default: "RMSNorm",
}


@dataclass(frozen=True)
class RefuseInputNorms:
    """Requires that every norm has stored statistics; changes nothing."""

    name: str = "refuse-input-norms"

    def requires(self, program: SpikingProgram) -> None:
        refused = [site for node in program.graph.graph.nodes if (site := _refusal(node)) is not None]
        if refused:
            raise FoldRefused(tuple(refused))

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        return program

    def ensures(self, program: SpikingProgram) -> None:
        return None


def _refusal(node: fx.Node) -> Site | None:
    if node.target in _SAMPLE_NORMS:
        kind = _SAMPLE_NORMS[node.target]
        reason = "its statistics are those of each input, so it is no constant to fold"
        if node.target is _ATEN.instance_norm.default and not node.args[5]:
            reason = "instance norm with running statistics is not supported; use batch norm"
        return Site(node.name, kind, "", REFUSED, reason)
    if node.target is BATCH_NORM and (node.args[5] or not isinstance(node.args[3], fx.Node)):
        reason = "it keeps no running statistics and normalises by each batch (track_running_stats=False)"
        return Site(norm_path(node), "BatchNorm", "", REFUSED, reason)
    return None
