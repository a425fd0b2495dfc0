"""The adapter of a layer that was identified: its neuron in every type, its reset, and the text of an adapter to paste."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.adapters import Adapter
from snnconv.capture import Interface
from snnconv.ir.neuron import Neuron


@dataclass(frozen=True, kw_only=True)
class Identified(Adapter):
    """What was found of one layer, in the place of an adapter of its class.

    Attributes:
        neurons: the canonical neuron that it is, in every type in which it computes.
        called: how its network calls it.
    """

    neurons: Mapping[torch.dtype, Neuron]
    called: Interface

    def in_dtype(self, layer: nn.Module, dtype: torch.dtype) -> Neuron:
        """The neuron in `dtype`, with the constants that the layer itself has in it."""
        return self.neurons.get(dtype, self.neuron(layer)).to(dtype)

    def interface(self, layer: nn.Module) -> Interface:
        """How the network calls the layer."""
        return self.called

    def __deepcopy__(self, memo: dict[int, Any]) -> Identified:
        return self


def described(neuron: Neuron, called: Interface) -> str:
    """The neuron in words: `leak 0.5, threshold 1, hard reset to 0, fires above it`."""
    parts = [f"leak {shown(neuron.leak)}", f"threshold {shown(neuron.threshold)}"]
    if neuron.synaptic_decay is not None:
        parts.insert(0, f"synaptic current of which {shown(neuron.synaptic_decay)} is kept")
    if neuron.shift is not None:
        parts.append(f"shift {shown(neuron.shift)}")
    parts.append(_reset(neuron))
    side = "above" if neuron.inverted is None else "above or, per channel, below"
    parts.append(f"fires {side} it" if neuron.strict else f"fires on and {side} it")
    if called.amplitude != 1:
        parts.append(f"a spike is {called.amplitude:g}")
    return ", ".join(parts)


def _reset(neuron: Neuron) -> str:
    if not neuron.resets:
        return "no reset"
    amount = neuron.reset / neuron.leak if bool((neuron.leak != 0).all()) else neuron.reset
    return f"soft reset by {shown(amount)}" if neuron.soft else f"hard reset to {shown(amount)}"


def shown(value: Tensor) -> str:
    """The value of a constant, or the range of one per channel."""
    finite = value[value.isfinite()]
    low, high = (finite.min().item(), finite.max().item()) if len(finite) else (torch.inf, torch.inf)
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"
