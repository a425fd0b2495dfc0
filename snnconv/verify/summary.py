"""What a report says beside the findings: versions and CPU, and the folded thresholds of every layer."""

from __future__ import annotations

import platform

import torch

import snnconv
from snnconv.engines import Deployment
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram
from snnconv.results import Thresholds

_BINS = 24


def environment(candidate: Deployment) -> dict[str, str]:
    """Versions and kind of CPU, without the name of the machine."""
    return {
        "snnconv": snnconv.__version__,
        "torch": torch.__version__,
        "runtime": candidate.runtime,
        "python": platform.python_version(),
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def thresholds(folded: SpikingProgram) -> tuple[Thresholds, ...]:
    """The folded thresholds of every layer."""
    return tuple(_of_layer(name, neuron) for name, neuron in folded.neurons.items())


def _of_layer(name: str, neuron: Neuron) -> Thresholds:
    inverted = torch.zeros_like(neuron.threshold, dtype=torch.bool) if neuron.inverted is None else neuron.inverted
    unreachable = torch.where(inverted, -neuron.threshold, neuron.threshold)
    finite = neuron.threshold[neuron.threshold.isfinite()].flatten().double()
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    # All alike: one bin of no width, which histc would widen.
    counts = torch.histc(finite, _BINS).long().tolist() if low != high else [len(finite)]
    return Thresholds(
        name,
        count=neuron.threshold.numel(),
        inverted=int(inverted.sum()),
        always=int((unreachable == -torch.inf).sum()),
        never=int((unreachable == torch.inf).sum()),
        low=low,
        high=high,
        counts=tuple(counts) if len(finite) else (),
    )
