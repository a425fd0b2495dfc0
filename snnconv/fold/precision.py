"""The two precisions of a fold: passes leave float64, an artifact holds what that rounds to, a proof compares the two.

folded    float64 constants rounded once to the program's type, however many norms met in them
twin      the fold of the float64 source, holding the same optional constants (mask, gain, offset, shift, leak) as `folded`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snnconv.fold.passes import FoldRefused
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram, put, share, tensors
from snnconv.results import REFUSED, Site

_NEUTRAL = {"inverted": False, "shift": 0.0, "gain": 1.0, "offset": 0.0}


def rounded(folded: SpikingProgram, source: SpikingProgram) -> SpikingProgram:
    """`folded` with everything that a pass made in float64 rounded to the type of `source`.

    Raises `FoldRefused` if a constant has no finite value in that type.
    """
    graph, before, dtype = share(folded.graph), tensors(source.graph), source.dtype
    for path, value in tensors(graph).items():
        kept = before[path].dtype if path in before else dtype
        if value.is_floating_point() and value.dtype != kept:
            _ensure_finite(path, value, kept)
            put(graph, path, value.to(kept))
    for name, neuron in folded.neurons.items():
        for constant in ("leak", "shift", "gain", "offset"):
            _ensure_finite(f"{name}.{constant}", getattr(neuron, constant), dtype)
    return replace(folded, graph=graph, neurons={name: neuron.to(dtype) for name, neuron in folded.neurons.items()})


def twin(folded64: SpikingProgram, folded: SpikingProgram) -> SpikingProgram:
    """`folded64`, a fold of the source in float64, with the very optional constants of `folded`, a fold in its own type."""
    neurons = {name: _following(neuron, folded.neurons[name], folded.leaks(name)) for name, neuron in folded64.neurons.items()}
    return replace(folded64, neurons=neurons)


def drops(folded64: SpikingProgram, folded: SpikingProgram) -> bool:
    """Whether `twin` leaves out a constant of `folded64` because it rounds to nothing: `(v + 0.1) / 2` around a rest of -0.1."""

    def dropped(exact: Neuron, like: Neuron, leaks: bool) -> bool:
        optional = ((getattr(exact, name), getattr(like, name), neutral) for name, neutral in _NEUTRAL.items())
        missing = [value != neutral for value, held, neutral in optional if value is not None and held is None]
        missing += [exact.leak != 1] if not leaks else []
        missing += [exact.reset != 0] if not like.resets else []
        return any(bool(values.any()) for values in missing)

    return any(dropped(neuron, folded.neurons[name], folded.leaks(name)) for name, neuron in folded64.neurons.items())


def _following(exact: Neuron, folded: Neuron, leaks: bool) -> Neuron:
    held: dict[str, Any] = {}
    for name, neutral in _NEUTRAL.items():
        value, like = getattr(exact, name), getattr(folded, name)
        dtype = torch.bool if name == "inverted" else exact.threshold.dtype
        held[name] = None if like is None else torch.full_like(like, neutral, dtype=dtype) if value is None else value
    leak = exact.leak if leaks else torch.ones_like(exact.leak)
    reset = exact.reset if folded.resets else torch.zeros_like(exact.reset)
    return replace(exact, **held, leak=leak, reset=reset)


def _ensure_finite(path: str, value: Tensor | None, dtype: torch.dtype) -> None:
    if value is not None and bool((value.isfinite() & ~value.to(dtype).isfinite()).any()):
        largest = f"{float(value.abs().max()):.1e}"
        raise FoldRefused((Site(path, "norm", "", REFUSED, f"what it folds into is {largest}, beyond the range of {dtype}"),))
