"""Batch norm in front of convolutions or linear layers goes into their weights.

    before   y = W (scale * x + shift) + b
    after    y = (W * scale) x + (W shift + b)       scale and shift per input channel

Assumes that nothing but such layers reads the norm. Zero padding comes after the norm, so a shift does not reach the border: a
layer that pads takes only a norm without one, as a PSP norm is. The arithmetic runs in float64 and is rounded when every
pass is done: `rounding`.
"""

from __future__ import annotations

from torch import Tensor, fx

from snnconv.fold.editing import edited, remove, rewritten
from snnconv.fold.layers import give, groups, has_bias, has_stored_weights, pads, paths, works_on_channels
from snnconv.fold.norm_calls import NormCall, norm_calls
from snnconv.fold.passes import FoldPass
from snnconv.fold.wording import all_in_words, in_words
from snnconv.ir.operators import OPERATORS
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.results import ROUNDING, Site


class FoldIntoNextLinear(FoldPass):
    """Folds each norm that only layers read; runs after the passes in which a layer or a neuron before it takes it."""

    name = "next-linear"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The norms in the weights of the layers behind them."""
        graph, sites = edited(program), list[Site]()
        # A norm that another one and a layer read is read by layers alone once that one is folded.
        while calls := self._taken(graph):
            sites += [site for call in calls for site in _fold(graph, call)]
        return rewritten(program, graph, sites)

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a norm is left that the layers behind it could take."""
        left = [call.path for call in self._taken(program.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")

    def declines(self, call: NormCall) -> str:
        """Why the layers behind it do not take a norm."""
        others = [user for user in call.node.users if OPERATORS.layer(user) is None]
        if others or not call.node.users:
            return f"{all_in_words(others) or 'nothing'} reads it, no layer"
        if call.per_step:
            return "it changes from step to step, the weights behind it do not"
        return next((reason for user in call.node.users if (reason := _declines(user, call))), "")

    def _taken(self, graph: fx.GraphModule) -> list[NormCall]:
        return [call for call in norm_calls(graph) if not self.declines(call)]


def _declines(user: fx.Node, call: NormCall) -> str:
    """Why one layer that reads a norm does not take it."""
    layer = OPERATORS.layer(user)
    if not has_stored_weights(user):
        return f"the weights of {user.name} depend on the input"
    if layer is None or layer.transposed:
        return f"{in_words(user)} behind it is transposed"
    if not works_on_channels(user):
        return f"{in_words(user)} behind it works on another dimension"
    if pads(user) and bool(call.shift.any()):
        return f"{in_words(user)} behind it pads with zeros, which a shift does not reach"
    return ""


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
