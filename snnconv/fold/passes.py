"""What a fold pass is: `requires -> call -> ensures` on a `SpikingProgram`, and the pieces that passes share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, fx

from snnconv.errors import Refused
from snnconv.neuron import NEURON_OP
from snnconv.program import BATCH_NORM, SpikingProgram, share, tensors
from snnconv.results import REFUSED, Site


class FoldPass(Protocol):
    """Turns one kind of norm into constants and says, per site, how exactly.

    `requires` raises `FoldRefused` where the pass's assumption does not hold; `ensures` raises RuntimeError where its own work
    is not what it claims.
    """

    @property
    def name(self) -> str: ...
    def requires(self, program: SpikingProgram) -> None: ...
    def __call__(self, program: SpikingProgram) -> SpikingProgram: ...
    def ensures(self, program: SpikingProgram) -> None: ...


class FoldRefused(Refused):
    """A norm that cannot be folded; `sites` says which and why."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        first = sites[0]
        more = f" (and {len(sites) - 1} more)" if len(sites) > 1 else ""
        super().__init__(f"cannot fold {first.kind} at {first.path}{more}: {first.detail}", "`snnconv inspect` lists every norm")
        self.sites = sites


@dataclass(frozen=True)
class NormCall:
    """Batch norms of a graph at inference, one or several in a row: `y = scale * x + shift` per channel, computed in float64.

    For one norm, scale = gamma / sqrt(var + eps) and shift = beta - mean * scale. `head` is the first of them, `node` the last.
    """

    head: fx.Node
    node: fx.Node
    paths: tuple[str, ...]
    scale: Tensor
    shift: Tensor

    @property
    def input(self) -> fx.Node:
        """What the first of them reads, also after a rewrite in front of it."""
        node = self.head.args[0]
        if not isinstance(node, fx.Node):
            raise RuntimeError(f"{self.path} normalises a constant")
        return node

    @property
    def path(self) -> str:
        return self.paths[-1]

    def sites(self, into: str, outcome: str, detail: str) -> list[Site]:
        """One site per norm of the row."""
        kind = f"BatchNorm{max(len(self.node.meta['val'].shape) - 2, 1)}d"
        return [Site(path, kind, into, outcome, detail) for path in self.paths]

    def then(self, other: NormCall) -> NormCall:
        """This norm and the one after it, as one."""
        shift = other.scale * self.shift + other.shift
        return NormCall(self.head, other.node, (*self.paths, *other.paths), other.scale * self.scale, shift)


def norm_calls(graph: fx.GraphModule) -> list[NormCall]:
    """Every batch norm of a graph, in order; norms that only feed each other come as one."""
    constants = tensors(graph)
    rows: dict[fx.Node, NormCall] = {}
    for node in batch_norms(graph.graph):
        call = _norm_call(node, constants)
        before = rows.pop(call.input, None) if len(call.input.users) == 1 else None
        rows[node] = call if before is None else before.then(call)
    return list(rows.values())


def batch_norms(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.target is BATCH_NORM]


def norm_path(node: fx.Node) -> str:
    """The path of the module whose running mean a batch norm reads; the node's name where it has none."""
    held = [a for a in node.args[1:5] if isinstance(a, fx.Node) and a.op == "get_attr"]
    return str(held[-1].target).rpartition(".")[0] if held else node.name


def _norm_call(node: fx.Node, constants: dict[str, Tensor]) -> NormCall:
    gamma, beta, mean, var = (constants[str(a.target)].double() if isinstance(a, fx.Node) else None for a in node.args[1:5])
    if mean is None or var is None:
        raise RuntimeError(f"{node.name} has no running statistics")
    eps = float(node.args[7])
    scale = (torch.ones_like(mean) if gamma is None else gamma) / (var + eps).sqrt()
    shift = -mean * scale if beta is None else beta - mean * scale
    if not bool((scale.isfinite() & shift.isfinite()).all()):
        reason = "its scale or shift is not finite (variance and eps are both zero?)"
        raise FoldRefused((Site(norm_path(node), "BatchNorm", "", REFUSED, reason),))
    return NormCall(node, node, (norm_path(node),), scale, shift)


def per_channel(values: Tensor, dims: int) -> Tensor:
    """Lay `[C]` out as `[C, 1, ...]` with `dims` dimensions."""
    return values.view(-1, *[1] * (dims - 1))


def edited(program: SpikingProgram) -> fx.GraphModule:
    """A graph to rewrite in place, sharing the program's constants."""
    return share(program.graph)


def rewritten(program: SpikingProgram, graph: fx.GraphModule, sites: list[Site], **changes: object) -> SpikingProgram:
    """The program after a pass: dead code and unused constants gone, its sites added."""
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    return replace(program, graph=share(graph), sites=(*program.sites, *sites), **changes)


def remove(node: fx.Node, value: fx.Node) -> None:
    """Take `node` out of its graph; whoever read it reads `value`."""
    node.replace_all_uses_with(value)
    node.graph.erase_node(node)


def is_neuron_input(user: fx.Node, value: fx.Node) -> bool:
    """Whether `user` is a neuron whose current is `value`."""
    return user.target is NEURON_OP and user.args[0] is value


def census(threshold: Tensor, inverted: Tensor | None) -> str:
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
