"""Batch norm in front of convolutions or linear layers goes into their weights.

    before   y = W (scale * x + shift) + b
    after    y = (W * scale) x + (W shift + b)       scale and shift per input channel

Assumes that nothing but such layers reads the norm. Zero padding comes after the norm, so a shift does not reach the border: a
layer that pads takes only a norm without one, as a PSP norm is. The arithmetic runs in float64 and is rounded when every
pass is done: `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from snnconv.fold.linear_norm import give, groups, has_bias, paths
from snnconv.fold.norm_calls import NormCall, norm_calls
from snnconv.fold.passes import edited, remove, rewritten
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.results import ROUNDING, Site

_ATEN = torch.ops.aten
_CONVOLUTIONS = {_ATEN.conv1d.default: 1, _ATEN.conv2d.default: 2, _ATEN.conv3d.default: 3}


@dataclass(frozen=True)
class FoldIntoNextLinear:
    """Folds each norm that only linear operators read; runs after the passes in which a layer or a neuron before it takes it."""

    name: str = "next-linear"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph, sites = edited(program), list[Site]()
        # A norm that another one and a layer read is read by layers alone once that one is folded.
        while calls := [call for call in norm_calls(graph) if _foldable(call)]:
            sites += [site for call in calls for site in _fold(graph, call)]
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        left = [call.path for call in norm_calls(program.graph) if _foldable(call)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _foldable(call: NormCall) -> bool:
    return not call.per_step and bool(call.node.users) and all(_takes(user, call) for user in call.node.users)


def _takes(user: fx.Node, call: NormCall) -> bool:
    if user.target not in _CONVOLUTIONS and user.target is not _ATEN.linear.default:
        return False
    stored = user.args[0] is call.node and all(a is None or a.op == "get_attr" for a in user.args[1:3])
    dims = len(call.node.meta["val"].shape)
    if user.target is _ATEN.linear.default:
        return stored and dims == 2
    padded = len(user.args) > 4 and any(user.args[4])
    return stored and dims == _CONVOLUTIONS[user.target] + 2 and (not padded or not bool(call.shift.any()))


def _fold(graph: fx.GraphModule, call: NormCall) -> list[Site]:
    layers = [_absorb(graph, user, call) for user in list(call.node.users)]
    remove(call.node, call.input)
    return call.sites(", ".join(layers), ROUNDING, "into the weight and bias of the layer behind it, in float64")


def _absorb(graph: fx.GraphModule, op: fx.Node, call: NormCall) -> str:
    constants = tensors(graph)
    layer, weight_path, bias_path = paths(op)
    weight = constants[weight_path].double()
    folded = {weight_path: weight * _per_input(call.scale, weight, op)}
    if has_bias(op) or bool(call.shift.any()):
        old = constants[bias_path].double() if has_bias(op) else 0.0
        added = weight * _per_input(call.shift, weight, op)
        folded[bias_path] = old + added.flatten(1).sum(1)
    give(graph, op, folded)
    return layer


def _per_input(values: Tensor, weight: Tensor, op: fx.Node) -> Tensor:
    """`[C]` laid out over a weight `[O, C / groups, ...]`: the channels that each output reads."""
    per_group = values.flatten().view(groups(op), -1)
    read = per_group.repeat_interleave(weight.shape[0] // groups(op), 0)
    return read.view(*read.shape, *[1] * (weight.dim() - 2))
