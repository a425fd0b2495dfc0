"""Batch norm in front of a neuron, with no layer to take it, becomes the neuron's own gain and offset.

    before   u = m + g * (scale * x + shift) + c
    after    u = m + (g * scale) * x + (g * shift + c)

This is the norm after a residual sum, after pooling, on the input itself, or one with constants per step: then g and c have one
entry per step as well. Constants in float64, rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from snnconv.fold.norm_calls import NormCall, for_steps, norm_calls
from snnconv.fold.passes import edited, is_neuron_input, is_zero, remove, rewritten
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram
from snnconv.results import ROUNDING, Site


@dataclass(frozen=True)
class FoldIntoNeuron:
    """Folds each norm that only neurons read."""

    name: str = "neuron-gain"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph, neurons, sites = edited(program), dict(program.neurons), list[Site]()
        # A norm that another one and a neuron read is read by neurons alone once that one is folded.
        while calls := [c for c in norm_calls(graph) if _foldable(c)]:
            for call in calls:
                names = [str(user.args[2]) for user in call.node.users]
                for name in names:
                    neurons[name] = _absorb(neurons[name], call, program)
                remove(call.node, call.input)
                when = ", one per step" if call.per_step else ""
                sites += call.sites(", ".join(names), ROUNDING, f"gain and offset of the neuron's current{when}")
        return rewritten(program, graph, sites, neurons=neurons)

    def ensures(self, program: SpikingProgram) -> None:
        left = [call.path for call in norm_calls(program.graph) if _foldable(call)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _foldable(call: NormCall) -> bool:
    return bool(call.node.users) and all(is_neuron_input(user, call.node) for user in call.node.users)


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
