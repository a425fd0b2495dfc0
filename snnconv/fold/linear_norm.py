"""Batch norm after a convolution or a linear layer goes into its weights.

    before   y = scale * (W x + b) + shift
    after    y = (scale * W) x + (scale * b + shift)       scale and shift per output channel

Assumes that nothing else reads the layer's output and that channels are dimension 1. A weight has its output channels first, a
transposed convolution's second and within groups. Padding is zeros on the input side and is
not touched. The arithmetic runs in float64 and is rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from snnconv.fold.norm_calls import NormCall, norm_calls
from snnconv.fold.passes import edited, hold, per_channel, remove, rewritten
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.results import ROUNDING, Site

_ATEN = torch.ops.aten
LINEAR_OPS = (
    _ATEN.conv1d.default,
    _ATEN.conv1d.padding,
    _ATEN.conv2d.default,
    _ATEN.conv2d.padding,
    _ATEN.conv3d.default,
    _ATEN.conv3d.padding,
    _ATEN.linear.default,
)
TRANSPOSED = (_ATEN.conv_transpose1d.default, _ATEN.conv_transpose2d.input, _ATEN.conv_transpose3d.input)


@dataclass(frozen=True)
class FoldLinearNorm:
    """Folds each norm that directly follows a linear operator."""

    name: str = "linear-norm"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph = edited(program)
        sites = [site for call in _rows(graph) if _foldable(call) for site in _fold(graph, call)]
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        left = [call.path for call in _rows(program.graph) if _foldable(call)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _rows(graph: fx.GraphModule) -> list[NormCall]:
    # What changes from step to step stays out of weights: they serve every step.
    return [call for call in norm_calls(graph, across_time=False) if not call.per_step]


def _foldable(call: NormCall) -> bool:
    op = call.input
    if op.target not in LINEAR_OPS + TRANSPOSED or len(op.users) != 1:
        return False
    stored = all(a is None or a.op == "get_attr" for a in op.args[1:3])
    return stored and (op.target is not _ATEN.linear.default or len(call.node.meta["val"].shape) == 2)


def _fold(graph: fx.GraphModule, call: NormCall) -> list[Site]:
    op, constants = call.input, tensors(graph)
    layer, weight_path, bias_path = paths(op)
    weight = constants[weight_path].double()
    scale, shift = call.scale.flatten(), call.shift.flatten()
    old = constants[bias_path].double() if has_bias(op) else torch.zeros_like(shift)
    folded = {weight_path: _scaled(weight, scale, op), bias_path: scale * old + shift}
    give(graph, op, folded)
    remove(call.node, op)
    return call.sites(layer, ROUNDING, f"into weight {list(weight.shape)} and bias, in float64")


def _scaled(weight: Tensor, scale: Tensor, op: fx.Node) -> Tensor:
    """`weight` with each output channel multiplied by its `scale` `[C]`."""
    if op.target not in TRANSPOSED:
        return weight * per_channel(scale, weight.dim())
    per_group = scale.view(groups(op), 1, -1, *[1] * (weight.dim() - 2))
    return (weight.unflatten(0, (groups(op), -1)) * per_group).flatten(0, 1)


def has_bias(op: fx.Node) -> bool:
    """Whether a linear operator adds a bias."""
    return len(op.args) > 2 and op.args[2] is not None


def groups(op: fx.Node) -> int:
    """The groups of a convolution, transposed or not; 1 for any other linear operator."""
    return int(op.args[6]) if len(op.args) > 6 else 1


def paths(op: fx.Node) -> tuple[str, str, str]:
    """Of a linear operator: its layer, or the path of the weight where that has none; the path of the weight; that of a bias."""
    weight = str(op.args[1].target)
    layer = weight.rpartition(".")[0]
    bias = str(op.args[2].target) if has_bias(op) else f"{layer}.bias" if layer else f"{weight}_bias"
    return layer or weight, weight, bias


def give(graph: fx.GraphModule, op: fx.Node, folded: dict[str, Tensor]) -> None:
    """Give the linear operator `op` a new weight and, if there are two, a new bias."""
    nodes = [hold(graph, path, value, op) for path, value in folded.items()]
    op.args = (op.args[0], *nodes, *op.args[1 + len(nodes) :])
