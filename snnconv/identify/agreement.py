"""Comparing the spikes of a layer with those of the canonical neuron that it is said to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from snnconv.ir.dynamics import integrate
from snnconv.ir.neuron import Neuron


def differences(
    neuron: Neuron, currents: Sequence[Tensor], spikes: Sequence[Tensor], tolerance: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Per step, the potential of `neuron` on `currents` `[B, ...]`, and where `spikes` are not its own, as bool.

    Where a potential is on the threshold, within `tolerance`, the two may differ: the canonical neuron goes on as the other.
    """
    m = i = None
    for t, (current, seen) in enumerate(zip(currents, spikes, strict=True)):
        i = neuron.synaptic_current(current, i, t)
        u = integrate(i, m)
        own = neuron.fires(u).to(seen.dtype)
        m = neuron.after_reset(u, seen > 0)
        measured = u if neuron.norm is None else neuron.norm(u)
        tied = (measured - neuron.threshold).abs() <= tolerance * measured.abs().clamp(min=1.0)
        yield u, (own != seen) & ~tied
