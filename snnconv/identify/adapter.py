"""The adapter of a layer that was identified: its neuron in every type, its reset, and the text of an adapter to paste."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.adapters import Adapter
from snnconv.capture import Interface
from snnconv.ir.neuron import Neuron

_LISTED = 3
"""So many names are listed at most."""


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


def notes(layers: Mapping[str, tuple[str, Identified]]) -> tuple[str, ...]:
    """What the layers were found to be, given their class and adapter by path: one note for those of a class and of a form."""
    groups: dict[tuple[str, str], dict[str, tuple[Neuron, Interface]]] = {}
    for path, (kind, known) in layers.items():
        neuron = known.neurons.get(torch.float32, next(iter(known.neurons.values()))).to(torch.float32)
        form = _described([neuron], known.called, lambda values: "")
        groups.setdefault((kind, form), {})[path] = neuron, known.called
    return tuple(_note(kind, group) for (kind, _), group in groups.items())


def _note(kind: str, group: Mapping[str, tuple[Neuron, Interface]]) -> str:
    neurons, (called, *_) = zip(*group.values(), strict=True)
    words = "its" if len(group) == 1 else "their"
    return f"{listed(list(group))} ({kind}): identified by {words} behaviour: {_described(neurons, called, shown)}"


def listed(names: Sequence[str]) -> str:
    """Names in words, the first of many: `a, b`, `a, b and 17 more`."""
    return ", ".join(names) if len(names) <= _LISTED else f"{', '.join(names[: _LISTED - 1])} and {len(names) - _LISTED + 1} more"


def _described(neurons: Sequence[Neuron], called: Interface, shown: Callable[[Sequence[Tensor]], str]) -> str:
    """Neurons of one form in words: `leak 0.5, threshold 1, hard reset to 0, fires above it`."""
    first = neurons[0]
    leaks, thresholds = [neuron.leak for neuron in neurons], [neuron.threshold for neuron in neurons]
    parts = [f"leak {shown(leaks)}", f"threshold {shown(thresholds)}"]
    if first.synaptic_decay is not None:
        parts.insert(0, f"synaptic current of which {shown(_given(neuron.synaptic_decay for neuron in neurons))} is kept")
    if first.shift is not None:
        parts.append(f"shift {shown(_given(neuron.shift for neuron in neurons))}")
    parts.append(_reset(neurons, shown))
    side = "above" if first.inverted is None else "above or, per channel, below"
    parts.append(f"fires {side} it" if first.strict else f"fires on and {side} it")
    if called.amplitude != 1:
        parts.append(f"a spike is {called.amplitude:g}")
    return ", ".join(parts)


def _reset(neurons: Sequence[Neuron], shown: Callable[[Sequence[Tensor]], str]) -> str:
    if not neurons[0].resets:
        return "no reset"
    amounts = [n.reset / n.leak if bool((n.leak != 0).all()) else n.reset for n in neurons]
    return f"soft reset by {shown(amounts)}" if neurons[0].soft else f"hard reset to {shown(amounts)}"


def _given(values: Iterable[Tensor | None]) -> list[Tensor]:
    return [value for value in values if value is not None]


def shown(values: Sequence[Tensor]) -> str:
    """The value of a constant, or the range of several."""
    every = torch.cat([value.flatten() for value in values])
    finite = every[every.isfinite()]
    low, high = (finite.min().item(), finite.max().item()) if len(finite) else (torch.inf, torch.inf)
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"
