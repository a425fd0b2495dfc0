"""Batch norm after a convolution or a linear layer goes into its weights.

    before   y = scale * (W x + b) + shift
    after    y = (scale * W) x + (scale * b + shift)       scale and shift per output channel

Assumes that nothing else reads the layer's output and that channels are dimension 1. A weight has its output channels first, a
transposed convolution's second and within groups. Padding is zeros on the input side and is
not touched. The arithmetic runs in float64 and is rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from snnconv.fold.editing import edited, per_channel, remove, rewritten
from snnconv.fold.layers import give, groups, has_bias, has_stored_weights, paths, works_on_channels
from snnconv.fold.norm_calls import NormCall, norm_calls
from snnconv.fold.passes import FoldPass
from snnconv.fold.wording import in_words
from snnconv.ir.operators import OPERATORS
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.results import ROUNDING, Site


class FoldLinearNorm(FoldPass):
    """Folds each norm that directly follows a layer."""

    name = "linear-norm"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The norms in the weights of the layers in front of them."""
        graph = edited(program)
        sites = [site for call in self._taken(graph) for site in _fold(graph, call)]
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a norm is left that a layer could take."""
        left = [call.path for call in self._taken(program.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")

    def declines(self, call: NormCall) -> str:
        """Why no layer in front of it takes a norm."""
        op = call.input
        if OPERATORS.layer(op) is None:
            return f"it follows {in_words(op)}, no layer"
        layer = paths(op)[0] if has_stored_weights(op) else op.name
        if call.per_step:
            return f"it changes from step to step, the weights of {layer} do not"
        if not has_stored_weights(op):
            return f"the weights of {layer} depend on the input"
        if not works_on_channels(op):
            return f"{layer} in front of it works on another dimension"
        return "" if len(op.users) == 1 else f"it is not alone in reading {layer}"

    def _taken(self, graph: fx.GraphModule) -> list[NormCall]:
        # What changes from step to step stays out of weights: they serve every step.
        return [call for call in norm_calls(graph, across_time=False) if not self.declines(call)]


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
    layer = OPERATORS.layer(op)
    if layer is None or not layer.transposed:
        return weight * per_channel(scale, weight.dim())
    per_group = scale.view(groups(op), 1, -1, *[1] * (weight.dim() - 2))
    return (weight.unflatten(0, (groups(op), -1)) * per_group).flatten(0, 1)
