"""How large the current is that makes a neuron fire, whatever the network around it gives it."""

from __future__ import annotations

import torch
from torch import Tensor

from snnconv.ir.neuron import Neuron


def typical_current(neuron: Neuron) -> Tensor:
    """About how large a current brings the potential to the threshold."""
    if neuron.norm is None:
        size = neuron.threshold.abs()
    else:
        size = neuron.norm.mean.abs() + 2 * neuron.norm.var.sqrt()
        size = size.reshape(size.shape + (1,) * (len(neuron.shape) - size.dim()))
    if neuron.gain is not None and not neuron.per_step:
        size = size / neuron.gain.abs()
    return torch.where(torch.isfinite(size) & (size > 0), size, torch.ones_like(size))
