"""What cannot be folded is refused by name, before anything is done, or kept where the user says so.

A norm folds because at inference it is an affine map with stored constants. One that takes its statistics from the batch or
from the sample it is given is not, and one that draws random numbers is not even a function. Leaving such a norm in would break
the promise that no norm is left; norms over each sample (layer, group, instance, RMS) stay if they are named with `--keep-norm`,
and every verdict says so. A constant per step folds where it scales or shifts, not where it does anything else.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.errors import Refused
from snnconv.fold.constants import constants_of
from snnconv.fold.editing import rewritten
from snnconv.fold.norm_calls import norm_path, scales_per_step
from snnconv.fold.passes import FoldPass, FoldRefused
from snnconv.ir.nodes import argument, target
from snnconv.ir.program import BATCH_NORM, SpikingProgram, is_random
from snnconv.results import KEPT, REFUSED, Site

_ATEN = torch.ops.aten
_SAMPLE_NORMS = {
    _ATEN.layer_norm.default: ("LayerNorm", "layer", 2),
    _ATEN.group_norm.default: ("GroupNorm", "group", 2),
    _ATEN.instance_norm.default: ("InstanceNorm", "instance", 1),
    _ATEN.rms_norm.default: ("RMSNorm", "rms", 2),
}
"""Norms over each sample: their names, those by which they are kept, and which argument is the weight."""
_ITS_OWN = "its statistics are those of each input, so it is no constant to fold"


class RefuseUnfoldable(FoldPass):
    """Requires that every norm is an affine map with stored constants, or is to be kept; changes nothing."""

    name = "refuse-unfoldable"

    def requires(self, program: SpikingProgram) -> None:
        """Raise `FoldRefused`, with every site that cannot be folded, and `Refused` for norms to keep of which there are none."""
        nodes, keep = program.graph.graph.nodes, program.origin.keep_norms
        refused = [site for node in nodes if (site := _refusal(node, keep)) is not None]
        refused += _misused_steps(program.graph)
        if refused:
            keepable = [node for node in nodes if _keeps(node) and _keeps(node) not in keep]
            wanted = ",".join(dict.fromkeys((*keep, *map(_keeps, keepable))))
            todo = f"leave it in the artifact with --keep-norm {wanted}" if len(keepable) == len(refused) else ""
            raise FoldRefused(tuple(refused), *([todo] if todo else []))
        absent = [norm for norm in keep if norm not in map(_keeps, nodes)]
        if absent:
            raise Refused(f"there is no {absent[0]} norm to keep", f"leave {absent[0]} out of --keep-norm")

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program as it is, with a site for every norm that is kept."""
        kept = [node for node in program.graph.graph.nodes if _keeps(node)]
        sites = [Site(_path(node), _SAMPLE_NORMS[target(node)][0], "", KEPT, f"{_ITS_OWN}; it stays") for node in kept]
        return rewritten(program, program.graph, sites) if sites else program


def _keeps(node: fx.Node) -> str:
    """By which name the norm that `node` computes is kept; empty if it is none that can be."""
    if node.target not in _SAMPLE_NORMS or _has_running_statistics(node):
        return ""
    return _SAMPLE_NORMS[target(node)][1]


def _has_running_statistics(node: fx.Node) -> bool:
    return node.target is _ATEN.instance_norm.default and not argument(node, 5)


def _path(node: fx.Node) -> str:
    """The path of the module whose weight a norm over each sample reads; the node's name if it has none."""
    weight = argument(node, _SAMPLE_NORMS[target(node)][2])
    return (str(weight.target).rpartition(".")[0] if isinstance(weight, fx.Node) and weight.op == "get_attr" else "") or node.name


def _refusal(node: fx.Node, keep: tuple[str, ...]) -> Site | None:
    if node.target in _SAMPLE_NORMS and not (_keeps(node) and _keeps(node) in keep):
        kind = _SAMPLE_NORMS[target(node)][0]
        running = "instance norm with running statistics is not supported; use batch norm"
        return _refused(node, _path(node), kind, running if _has_running_statistics(node) else _ITS_OWN)
    if node.target is BATCH_NORM and (argument(node, 5) or not isinstance(argument(node, 3), fx.Node)):
        reason = "it keeps no running statistics and normalises by each batch (track_running_stats=False)"
        return _refused(node, norm_path(node), "BatchNorm", reason)
    if is_random(node):
        name = target(node)._schema.name.partition("::")[2]
        return _refused(node, node.name, name, "it draws random numbers at inference, so that no two runs are equal")
    return None


def _refused(node: fx.Node, path: str, kind: str, reason: str) -> Site:
    place = node.meta.get("place")
    return Site(path, kind, "", REFUSED, f"{reason}, in {place}" if place else reason)


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
