"""Batch norm in front of a neuron, with no layer to take it, becomes the neuron's own gain and offset.

    before   u = m + g * (scale * x + shift) + c
    after    u = m + (g * scale) * x + (g * shift + c)

This is the norm after a residual sum, after pooling, on the input itself, or one with constants per step: then g and c have one
entry per step as well. Constants in float64, rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from snnconv.fold.editing import edited, is_neuron_input, is_zero, remove, rewritten
from snnconv.fold.norm_calls import NormCall, for_steps, norm_calls
from snnconv.fold.passes import FoldPass
from snnconv.fold.wording import all_in_words
from snnconv.ir.neuron import Neuron
from snnconv.ir.nodes import argument
from snnconv.ir.program import SpikingProgram
from snnconv.results import ROUNDING, Site


class FoldIntoNeuron(FoldPass):
    """Folds each norm that only neurons read."""

    name = "neuron-gain"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The norms in the gain and offset of the neurons behind them."""
        graph, neurons, sites = edited(program), dict(program.neurons), list[Site]()
        # A norm that another one and a neuron read is read by neurons alone once that one is folded.
        while calls := self._taken(graph):
            for call in calls:
                names = [str(argument(user, 2)) for user in call.node.users]
                for name in names:
                    neurons[name] = _absorb(neurons[name], call, program)
                remove(call.node, call.input)
                when = ", one per step" if call.per_step else ""
                sites += call.sites(", ".join(names), ROUNDING, f"gain and offset of the neuron's current{when}")
        return rewritten(program, graph, sites, neurons=neurons)

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a norm is left that only neurons read."""
        left = [call.path for call in self._taken(program.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")

    def declines(self, call: NormCall) -> str:
        """Why no neuron takes a norm."""
        others = [user for user in call.node.users if not is_neuron_input(user, call.node)]
        if others or not call.node.users:
            return f"{all_in_words(others) or 'nothing'} reads it, no neuron"
        return ""

    def _taken(self, graph: fx.GraphModule) -> list[NormCall]:
        return [call for call in norm_calls(graph) if not self.declines(call)]


def _absorb(neuron: Neuron, call: NormCall, program: SpikingProgram) -> Neuron:
    scale, shift = for_steps(call, program.contract.timesteps)
    gain = scale if neuron.gain is None else neuron.gain.double() * scale
    offset = shift if neuron.gain is None else neuron.gain.double() * shift
    if neuron.offset is not None:
        offset = offset + neuron.offset.double()
    return replace(
        neuron,
        gain=None if bool((gain == 1).all()) else gain,
        offset=None if is_zero(offset) else offset,
    )
