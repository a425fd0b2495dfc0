"""Level 2: source and folded program in float64, free-running. In real arithmetic they are the same network, so they spike alike.

The source runs by its framework's own code, so this also settles that it was captured as it is. The candidate's own form is run:
a sequence artifact by the lowered sequence graph, a step artifact by the folded step graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnconv.lower import lower
from snnconv.program import SpikingProgram
from snnconv.results import Check
from snnconv.sources import Source

TOLERANCE = 1e-9
SAMPLES = 2


def check_algebra(source: Source, exactly: SpikingProgram, form: str, x: Tensor) -> Check:
    """Same spikes and the same logits to 1e-9, on the first samples of `x`. `exactly` is a fresh float64 fold of the source."""
    x = x[:SAMPLES].double()
    expected, found = _Spikes(), _Spikes()
    y = source.to(torch.float64).run(x, lambda name, spikes: expected.add(name, spikes))
    if form == "sequence":
        z = lower(exactly, form).run(x, lambda name, u, spikes: found.add(name, spikes))
    else:
        z = exactly.run(x, lambda name, step, u, spikes: found.add(name, spikes))
    flips = {name: expected.flips(found, name) for name in exactly.neurons}
    error = float((y - z).abs().max() / y.abs().max().clamp(min=1.0))
    first = next((name for name, count in flips.items() if count), None)
    spikes = f"{sum(flips.values())} flips, first in {first}" if first else "same spikes"
    passed = first is None and error <= TOLERANCE
    return Check("algebra", "", passed, f"float64, {len(x)} samples: {spikes}, logits to {error:.1e}")


class _Spikes:
    """Spikes of a run as bool, steps joined."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {}

    def add(self, name: str, spikes: Tensor) -> None:
        self.seen.setdefault(name, []).append(spikes > 0)

    def flips(self, other: Any, name: str) -> int:
        return int((torch.cat(self.seen[name]) ^ torch.cat(other.seen[name])).sum())
