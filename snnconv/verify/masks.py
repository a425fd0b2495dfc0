"""What is counted of potentials and spikes, quickly: every verification runs it over all of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from snnconv.ir.dynamics import NeuronConstants
from snnconv.results import MARGIN_BINS, MARGIN_BINS_PER_DECADE, MARGIN_DECADES

# On masks numpy is several times as fast as torch.


def count(mask: Tensor | None) -> int:
    """How many are marked; none by None."""
    return 0 if mask is None else int(np.count_nonzero(mask.numpy()))


def as_mask(spikes: Tensor) -> Tensor:
    """Which neurons spike, as bool."""
    return spikes if spikes.dtype is torch.bool else torch.from_numpy(spikes.numpy().astype(bool))


def decide(u: Tensor, k: NeuronConstants) -> Tensor:
    """The same as `snnconv.ir.dynamics.fire`."""
    if k.threshold is None:
        return torch.zeros_like(u, dtype=torch.bool)
    compare = np.greater if k.strict else np.greater_equal
    fired = torch.from_numpy(compare(u.numpy(), k.threshold.numpy()))
    return fired if k.inverted is None else fired ^ k.inverted


def of_samples(mask: Tensor) -> Tensor:
    """The samples `[B]` of which `mask` `[B, ...]` marks anything."""
    return mask.flatten(1).any(1) if mask.dim() > 1 else mask


def take(values: Tensor, rows: Tensor | None) -> Tensor:
    """The rows `[R]` of `values` `[B, ...]`; all of them for None."""
    return values if rows is None else values[rows]


def largest(values: Tensor) -> float:
    """The largest magnitude, in one pass; NaN if there is one."""
    low, high = values.aminmax()
    return float(torch.maximum(-low, high))


def finite(value: float) -> float | None:
    """`value`, or None if it is not finite."""
    return value if math.isfinite(value) else None


def histogram(ratio: Tensor) -> tuple[int, ...]:
    """Counts of `ratio` in the logarithmic bins of a tally, the outer ones open."""
    bins = ((ratio.log10() - MARGIN_DECADES[0]) * MARGIN_BINS_PER_DECADE).floor().nan_to_num(MARGIN_BINS, MARGIN_BINS, 0)
    return tuple(torch.bincount(bins.clamp_(0, MARGIN_BINS - 1).long(), minlength=MARGIN_BINS).tolist())
