"""Identifying a layer: the canonical neuron that it is, in every type in which it computes, or the fact that stands against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snnconv.identify.agreement import differences
from snnconv.identify.constants import measure
from snnconv.identify.facts import DEPENDENT, NotCanonical
from snnconv.identify.simplest import is_simple, laid_out
from snnconv.ir.neuron import Neuron

Outputs = Callable[[Tensor], Tensor]
"""A layer, run from a fresh state: currents `[T, B, *shape]` to what it returns, `[T, B, *shape]`."""

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""How near to its threshold a potential is on it, so that rounding may decide: a share of it, absolute below 1."""
FEW = 8
"""So many values may spikes have; more than 0 and another are refused, and named. What has more values is no spikes."""
_SAMPLES = 24
_PATTERNS = (("noise", "quiet", "noise", "strong", "noise"), ("strong", "noise", "quiet", "quiet", "noise"))
"""Steps at which the whole layer is given no current, or one that makes all of it fire, between steps of noise."""
_CROWD, _CROWDED_STEPS, _CROWDED_VALUES = 128, 4, 2**22
"""A batch as large as usual ones, the steps that it is shown, and the most values that one of these may have."""
_CONSTANTS = ("leak", "shift", "reset", "synaptic_decay")


def amplitude(outputs: Outputs, shape: tuple[int, ...], dtype: torch.dtype, steps: int) -> float | None:
    """What a layer returns for a spike; None if it returns anything but a few values or integers, and so no spikes.

    Raises `NotCanonical` unless it returns nothing but this value and 0, the same again for the same currents, and for each
    element what its own currents alone make it.
    """
    currents = _noise(shape, dtype, steps, scale=1.0)
    seen = outputs(currents)
    if len(seen.unique()) > FEW:
        if torch.equal(seen, seen.round()):
            raise NotCanonical("fires with any number of spikes at a step")
        return None
    if not torch.equal(seen, outputs(currents)):
        raise NotCanonical("draws random numbers, or remembers earlier samples")
    values = seen[seen != 0].unique()
    if len(values) > 1 or not bool(values.isfinite().all()):
        raise NotCanonical(f"fires with values {', '.join(f'{v:g}' for v in (seen + 0).unique().tolist())}")
    _ensure_elements_apart(outputs, currents, seen)
    return values.item() if len(values) else 1.0


def identify(runs: Mapping[torch.dtype, Outputs], shape: tuple[int, ...], steps: int) -> dict[torch.dtype, Neuron]:
    """The canonical neuron that a layer is, found by its behaviour over `steps` steps, in each type in which it can be run.

    Its gain is 1: the constants are in units of the input. They are per layer, per channel or per element, as few as will do. It
    spikes as the layer does on random currents, but for potentials that rounding may have put on the other side of the threshold.

    Raises `NotCanonical` with the fact that stands against it, and `UserCodeError` if the layer fails.
    """
    measured = {dtype: measure(_fires(run), shape, dtype, steps) for dtype, run in runs.items()}
    strict = _strict({dtype: neuron.threshold for dtype, neuron in measured.items()}, next(iter(measured.values())).inverted)
    return {dtype: _simplified(neuron, strict, shape) for dtype, neuron in measured.items()}


def confirm(neuron: Neuron, outputs: Outputs, shape: tuple[int, ...], dtype: torch.dtype, steps: int) -> None:
    """Raise `NotCanonical` unless the layer spikes as `neuron` does, over `steps` steps of noise around its threshold.

    Nor may it do otherwise after a step at which all of its currents are 0, or make it fire, or in a larger batch, or return
    another value where it is on its threshold.
    """
    live = torch.where(neuron.threshold.isfinite(), neuron.threshold, torch.zeros_like(neuron.threshold))
    unit = live.abs() + (live == 0).to(dtype)
    currents = _noise(shape, dtype, steps, scale=1.0) * unit + 0.3 * live
    strong = live + 3 * (unit if neuron.inverted is None else torch.where(neuron.inverted, -unit, unit))
    _confirm_on(currents, neuron, outputs)
    for pattern in _PATTERNS:
        levels = {"noise": currents, "quiet": torch.zeros_like(currents), "strong": strong.expand_as(currents)}
        try:
            _confirm_on(torch.stack([levels[pattern[t % len(pattern)]][t] for t in range(steps)]), neuron, outputs)
        except NotCanonical as error:
            raise NotCanonical("does otherwise where all of its currents are 0, or all make it fire") from error
    _ensure_any_batch(outputs, currents)
    _ensure_decided(live.expand_as(currents[:1]), outputs, currents)


def _ensure_decided(on: Tensor, outputs: Outputs, currents: Tensor) -> None:
    """Raise `NotCanonical` if a fresh layer returns a third value for the currents `on` its threshold, or next to it."""
    near = [torch.nextafter(on, torch.full_like(on, to)) for to in (-torch.inf, torch.inf)]
    seen = torch.cat([outputs(x[:1]).flatten() for x in (currents, on, *near)])
    if len(seen[seen != 0].unique()) > 1:
        raise NotCanonical("returns another value on its threshold than above and below it")


def _confirm_on(currents: Tensor, neuron: Neuron, outputs: Outputs) -> None:
    spikes = (outputs(currents) != 0).to(currents.dtype)
    fired = torch.zeros_like(spikes[0], dtype=torch.bool)
    found = differences(neuron, list(currents), list(spikes), TOLERANCE[currents.dtype])
    for seen, (_, other) in zip(spikes, found, strict=True):
        if bool((other & ~fired).any()):
            raise NotCanonical("carries more than one leaky potential")
        if bool(other.any()):
            raise NotCanonical("keeps more after a spike than a reset leaves (an adaptive threshold, a refractory period?)")
        fired = fired | (seen != 0)


def _ensure_any_batch(outputs: Outputs, currents: Tensor) -> None:
    """Raise `NotCanonical` if samples return something else in a large batch, as far as such a batch is affordable."""
    few = currents[:_CROWDED_STEPS]
    times = max(2, min(1 + _CROWD // few.shape[1], _CROWDED_VALUES // max(1, few[0].numel())))
    crowd = few.repeat(1, times, *[1] * (few.dim() - 2))
    if not torch.equal(outputs(crowd)[:, : few.shape[1]], outputs(few)):
        raise NotCanonical(f"does otherwise in a batch of {crowd.shape[1]} than in one of {few.shape[1]}")


def _fires(outputs: Outputs) -> Callable[[Tensor], Tensor]:
    return lambda currents: outputs(currents) != 0


def _noise(shape: tuple[int, ...], dtype: torch.dtype, steps: int, scale: float) -> Tensor:
    """Currents `[T, B, *shape]` of several sizes, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    samples = max(3, min(_SAMPLES, 2**16 // max(1, torch.Size(shape).numel())))
    sizes = torch.tensor([0.3, 1.0, 4.0]).repeat(samples)[:samples].reshape(1, samples, *[1] * len(shape))
    return (scale * sizes * torch.randn(steps, samples, *shape, generator=generator)).to(dtype)


def _ensure_elements_apart(outputs: Outputs, currents: Tensor, seen: Tensor) -> None:
    """Raise `NotCanonical` if other currents for some elements change what others return."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        changed = torch.rand(currents.shape[1:], generator=generator) < 0.5
        others = torch.where(changed, currents.flip(0) * 2 - 1, currents)
        if not bool((changed | (outputs(others) == seen)).all()):
            raise NotCanonical(DEPENDENT)


def _strict(cuts: Mapping[torch.dtype, Tensor], inverted: Tensor | None) -> bool:
    """Whether a neuron that is silent up to each cut is better called one that fires strictly above it.

    Of the last silent current and the first that fires, the threshold is the one that is the same number in both types; if only
    one type is known, the one that is written with fewer digits.
    """
    silent = {dtype: cut.flatten() for dtype, cut in cuts.items()}
    firing = {dtype: _next(cut, inverted).flatten() for dtype, cut in cuts.items()}
    if len(cuts) == 2:
        votes = [int((pair[torch.float64].float() == pair[torch.float32]).sum()) for pair in (silent, firing)]
    else:
        votes = [int(is_simple(value).sum()) for pair in (silent, firing) for value in pair.values()]
    return votes[0] >= votes[1]


def _next(cut: Tensor, inverted: Tensor | None) -> Tensor:
    """The first current that fires, for each that does not."""
    below = torch.zeros_like(cut, dtype=torch.bool) if inverted is None else inverted
    away = torch.where(below, -torch.inf, torch.inf).to(cut)
    return torch.where(cut.isfinite(), torch.nextafter(cut, away), cut)


def _simplified(neuron: Neuron, strict: bool, shape: tuple[int, ...]) -> Neuron:
    """The neuron with as few constants as will do; those of elements that never fire, or always do, are those of the others."""
    live = neuron.threshold.isfinite()
    fields: dict[str, Any] = {}
    for name in _CONSTANTS:
        value = getattr(neuron, name)
        if value is not None:
            fields[name] = laid_out(torch.where(live, value, value[live][0]))
    threshold = neuron.threshold if strict else _next(neuron.threshold, neuron.inverted)
    shift, inverted = fields["shift"], neuron.inverted
    return replace(
        neuron,
        **{**fields, "shift": shift if bool(shift.any()) else None},
        threshold=laid_out(threshold),
        inverted=laid_out(inverted) if inverted is not None and bool(inverted.any()) else None,
        strict=strict,
        shape=shape,
    )
