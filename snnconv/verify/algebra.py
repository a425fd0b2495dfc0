"""Level 2: source and folded program in float64, free-running. In real arithmetic they are the same network, so they spike alike.

The candidate's own form is run: a sequence artifact by the lowered sequence graph, a step artifact by the folded step graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnconv.fold import fold
from snnconv.lower import lower
from snnconv.program import SpikingProgram
from snnconv.results import Check

TOLERANCE = 1e-9
SAMPLES = 4


def check_algebra(source: SpikingProgram, form: str, x: Tensor) -> Check:
    """Same spikes and the same logits to 1e-9, on the first samples of `x`."""
    x = x[:SAMPLES].double()
    reference = source.to(torch.float64)
    expected = _Spikes()
    y = reference.run(x, lambda name, step, u, spikes: expected.add(name, spikes))
    found = _Spikes()
    folded = fold(reference)
    if form == "sequence":
        z = lower(folded, form).run(x, lambda name, u, spikes: found.add(name, spikes))
    else:
        z = folded.run(x, lambda name, step, u, spikes: found.add(name, spikes))
    flips = {name: expected.flips(found, name) for name in source.neurons}
    error = float((y - z).abs().max() / y.abs().max().clamp(min=1.0))
    first = next((name for name, count in flips.items() if count), None)
    spikes = f"{sum(flips.values())} flips, first in {first}" if first else "same spikes"
    return Check("algebra", "", first is None and error <= TOLERANCE, f"float64, {len(x)} samples: {spikes}, logits to {error:.1e}")


class _Spikes:
    """Spikes of a run as bool, steps joined."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {}

    def add(self, name: str, spikes: Tensor) -> None:
        self.seen.setdefault(name, []).append(spikes > 0)

    def flips(self, other: Any, name: str) -> int:
        return int((torch.cat(self.seen[name]) ^ torch.cat(other.seen[name])).sum())
