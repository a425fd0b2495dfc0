"""The norms of a graph at inference: per channel `y = scale * x + shift`, with one set of constants, or one per step.

    batch norm        scale = gamma / sqrt(var + eps), shift = beta - mean * scale
    per-step scale    y[t] = p[t] * x[t]   (TEBN, TAB), and the same for a sum and a difference

Norms that only feed each other are one row: their composition, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.fold.constants import Constant, constants_of
from snnconv.fold.passes import FoldRefused
from snnconv.ir.nodes import argument, operand, shape, target
from snnconv.ir.program import BATCH_NORM
from snnconv.results import REFUSED, NormStatistics, Site

_ATEN = torch.ops.aten
_PER_STEP = {
    _ATEN.mul.Tensor: "per-step scale",
    _ATEN.add.Tensor: "per-step shift",
    _ATEN.sub.Tensor: "per-step shift",
}
PSP_MEAN = "zero_mean"
"""The name under which `snnconv.nn.PSPNorm` holds a mean that is 0 by definition."""


@dataclass(frozen=True)
class Norm:
    """One norm of a row: where its constants are held, what it is called, what its statistics look like."""

    path: str
    kind: str
    statistics: NormStatistics | None = None


@dataclass(frozen=True)
class NormCall:
    """A row of norms, from `head` to `node`: `y = scale * x + shift`, in float64.

    Both constants have the layout of a sample, `[C, 1, ...]`, or `[T, 1, C, 1, ...]` if `per_step`. `operand` says which
    argument of `head` is x.
    """

    head: fx.Node
    node: fx.Node
    norms: tuple[Norm, ...]
    scale: Tensor
    shift: Tensor
    per_step: bool
    operand: int = 0

    @property
    def input(self) -> fx.Node:
        """What the first of them reads, also after a rewrite in front of it."""
        return operand(self.head, self.operand)

    @property
    def path(self) -> str:
        """Where the constants of the last of them are held."""
        return self.norms[-1].path

    @property
    def layer(self) -> str:
        """The module that holds the constants of the last of them."""
        last = self.norms[-1]
        return last.path if last.statistics is not None else last.path.rpartition(".")[0]

    def sites(self, into: str, outcome: str, detail: str) -> list[Site]:
        """One site per norm of the row."""
        return [Site(norm.path, norm.kind, into, outcome, detail, norm.statistics) for norm in self.norms]

    def then(self, other: NormCall) -> NormCall:
        """This row and the one after it, as one."""
        rows = (self, other)
        steps = min((len(t) for row in rows if row.per_step for t in (row.scale, row.shift) if len(t) > 1), default=1)
        (scale, shift), (outer, added) = (
            (row.scale[:steps], row.shift[:steps]) if row.per_step else (row.scale, row.shift) for row in rows
        )
        per_step = self.per_step or other.per_step
        norms = self.norms + other.norms
        return NormCall(self.head, other.node, norms, outer * scale, outer * shift + added, per_step, self.operand)


def norm_calls(graph: fx.GraphModule, across_time: bool = True) -> list[NormCall]:
    """Every norm of a graph, in order; norms that only feed each other come as one row.

    `across_time` says whether constants of every step and constants per step may come in one row. Raises `FoldRefused`.
    """
    constants = constants_of(graph)
    rows: dict[fx.Node, NormCall] = {}
    for node in graph.graph.nodes:
        call = _norm_call(node, constants)
        if call is None:
            continue
        before = rows.get(call.input) if len(call.input.users) == 1 else None
        if before is not None and (across_time or before.per_step == call.per_step):
            del rows[call.input]
            call = before.then(call)
        rows[node] = call
    return list(rows.values())


def for_steps(call: NormCall, timesteps: int) -> tuple[Tensor, Tensor]:
    """Scale and shift of a row for the first `timesteps` steps: it may have been trained for more."""
    if not call.per_step:
        return call.scale, call.shift
    scale, shift = (t.expand(max(t.shape[0], timesteps), *t.shape[1:])[:timesteps] for t in (call.scale, call.shift))
    return scale.contiguous(), shift.contiguous()


def batch_norms(graph: fx.Graph) -> list[fx.Node]:
    """Every batch norm of a graph, in order."""
    return [node for node in graph.nodes if node.target is BATCH_NORM]


def norm_path(node: fx.Node) -> str:
    """The path of the module whose running mean a batch norm reads; the node's name if it has none."""
    held = [a for a in node.args[1:5] if isinstance(a, fx.Node)]
    while held and held[-1].op != "get_attr":
        held = held[-1].all_input_nodes
    return str(held[-1].target).rpartition(".")[0] if held else node.name


def scales_per_step(node: fx.Node, constants: dict[fx.Node, Constant]) -> bool:
    """Whether `node` computes `x op c`, or `c op x` if that is the same, with a constant per step."""
    return _operand(node, constants) is not None


def _operand(node: fx.Node, constants: dict[fx.Node, Constant]) -> int | None:
    """Which argument of a scale or shift per step is x; None if `node` is none."""
    if node.target not in _PER_STEP or node in constants:
        return None
    commutes = node.target is _ATEN.mul.Tensor or (node.target is _ATEN.add.Tensor and not node.kwargs)
    for x, other in ((0, 1), (1, 0)) if commutes else ((0, 1),):
        value, by = argument(node, x), argument(node, other)
        if isinstance(value, fx.Node) and value not in constants and by in constants and constants[by].per_step:
            return x
    return None


def _norm_call(node: fx.Node, constants: dict[fx.Node, Constant]) -> NormCall | None:
    if node.target is BATCH_NORM:
        return _batch_norm(node, constants)
    x = _operand(node, constants)
    return None if x is None else _per_step(node, constants, x)


def _batch_norm(node: fx.Node, constants: dict[fx.Node, Constant]) -> NormCall:
    path, eps = norm_path(node), float(argument(node, 7))
    kind = f"BatchNorm{max(len(shape(node)) - 2, 1)}d"
    given = [a for a in node.args[1:5] if isinstance(a, fx.Node)]
    if not all(a in constants for a in given):
        raise FoldRefused((Site(path, kind, "", REFUSED, "its constants depend on the input"),))
    gamma, beta, mean, var = (constants[a] if isinstance(a, fx.Node) else None for a in node.args[1:5])
    if mean is None or var is None:
        raise RuntimeError(f"{node.name} has no running statistics")
    per_step = any(constants[a].per_step for a in given)
    if mean.path.rpartition(".")[2] == PSP_MEAN:
        kind = "PSPNorm"
    if per_step:
        kind = f"per-step {kind}"
    channels = mean.value.shape[-1]
    m, v = (_laid_out(c, per_step, channels, node) for c in (mean, var))
    g, b = (None if c is None else _laid_out(c, per_step, channels, node) for c in (gamma, beta))
    scale, shift = affine(g, b, m, v, eps)
    if not bool((scale.isfinite() & shift.isfinite()).all()):
        reason = "its scale or shift is not finite (variance and eps are both zero?)"
        raise FoldRefused((Site(path, kind, "", REFUSED, reason),))
    norm = Norm(path, kind, statistics(g, m, v, eps))
    return NormCall(node, node, (norm,), scale, shift, per_step)


def _laid_out(constant: Constant, per_step: bool, channels: int, node: fx.Node) -> Tensor:
    """`[C]` as `[C, 1, ...]`; if the norm is per step, that or `[T, C]` as `[T or 1, 1, C, 1, ...]`."""
    ones = [1] * (len(shape(node)) - 2)
    return constant.value.view(-1, 1, channels, *ones) if per_step else constant.value.view(channels, *ones)


def _per_step(node: fx.Node, constants: dict[fx.Node, Constant], x: int) -> NormCall:
    """A scale or shift per step, of its argument `x`."""
    constant, dims = constants[operand(node, 1 - x)], len(shape(node))
    entry = list(constant.value.shape[1:])
    # An entry may have a batch dimension of its own, of size 1.
    entry = entry[1:] if len(entry) == dims else [1] * (dims - 1 - len(entry)) + entry
    alpha: Any = node.kwargs.get("alpha", 1)
    value = constant.value.reshape(-1, 1, *entry) * float(alpha)
    scale, shift = torch.ones_like(value), torch.zeros_like(value)
    if node.target is _ATEN.mul.Tensor:
        scale = value
    else:
        shift = value if node.target is _ATEN.add.Tensor else -value
    return NormCall(node, node, (Norm(constant.path, _PER_STEP[target(node)]),), scale, shift, True, x)


def affine(gamma: Tensor | None, beta: Tensor | None, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm at inference."""
    scale = (torch.ones_like(var) if gamma is None else gamma) / (var + eps).sqrt()
    return scale, -mean * scale if beta is None else beta - mean * scale


def statistics(gamma: Tensor | None, mean: Tensor, var: Tensor, eps: float) -> NormStatistics:
    """What a reader wants to know of a norm before folding it; a variance is near 0 if eps is no longer small beside it."""
    gamma = torch.ones_like(var) if gamma is None else gamma
    scales, means, variances = ((float(t.min()), float(t.max())) for t in (gamma, mean, var))
    negative, zero, near_zero = (int(mask.sum()) for mask in (gamma < 0, gamma == 0, var <= 10 * eps))
    return NormStatistics(var.numel(), scales, means, variances, negative, zero, near_zero)
