"""Batch norm in front of a neuron, with no layer to take it, becomes the neuron's own gain and offset.

    before   u = m + g * (scale * x + shift) + c
    after    u = m + (g * scale) * x + (g * shift + c)

This is the norm after a residual sum, after pooling, or on the input itself. Constants in float64, rounded once: `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from snnconv.fold.passes import NormCall, edited, is_neuron_input, norm_calls, per_channel, remove, rewritten
from snnconv.neuron import Neuron
from snnconv.program import SpikingProgram
from snnconv.results import ROUNDING, Site


@dataclass(frozen=True)
class FoldIntoNeuron:
    """Folds each norm that only neurons read."""

    name: str = "neuron-gain"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph, neurons, sites = edited(program), dict(program.neurons), list[Site]()
        for call in [c for c in norm_calls(graph) if _foldable(c)]:
            names = [str(user.args[2]) for user in call.node.users]
            for name in names:
                neurons[name] = _absorb(neurons[name], call, program.dtype)
            remove(call.node, call.input)
            sites += call.sites(", ".join(names), ROUNDING, "gain and offset of the neuron's current")
        return rewritten(program, graph, sites, neurons=neurons)

    def ensures(self, program: SpikingProgram) -> None:
        left = [call.path for call in norm_calls(program.graph) if _foldable(call)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _foldable(call: NormCall) -> bool:
    return bool(call.node.users) and all(is_neuron_input(user, call.node) for user in call.node.users)


def _absorb(neuron: Neuron, call: NormCall, dtype: torch.dtype) -> Neuron:
    dims = len(neuron.shape)
    scale, shift = per_channel(call.scale, dims), per_channel(call.shift, dims)
    gain = scale if neuron.gain is None else neuron.gain.double() * scale
    offset = shift if neuron.gain is None else neuron.gain.double() * shift
    if neuron.offset is not None:
        offset = offset + neuron.offset.double()
    return replace(neuron, gain=gain.to(dtype), offset=offset.to(dtype))
