"""The exact threshold of a monotone decision: bisection over the ordered floats, with the framework's kernel as the oracle.

Floats of one type are ordered like the signed integers made from their bit patterns, so a decision that switches once from
"silent" to "fires" (or back) along the axis switches between two neighbouring floats. About 33 (float32) or 65 (float64)
evaluations of the decision, vectorised over channels, find the pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGER = {torch.float32: torch.int32, torch.float64: torch.int64}


def rank(x: Tensor) -> Tensor:
    """The position of each float among all floats of its type, as int64: -0 and +0 share rank 0, neighbours differ by 1."""
    bits = x.view(_INTEGER[x.dtype]).to(torch.int64)
    return torch.where(bits < 0, torch.iinfo(_INTEGER[x.dtype]).min - bits, bits)


def unrank(ranks: Tensor, dtype: torch.dtype) -> Tensor:
    """The float at each rank; rank 0 gives +0."""
    bits = torch.where(ranks < 0, torch.iinfo(_INTEGER[dtype]).min - ranks, ranks)
    return bits.to(_INTEGER[dtype]).view(dtype)


@dataclass(frozen=True)
class Cut:
    """Per channel: fires on `u > threshold`, or on `u < threshold` if inverted; +-inf stands for never or always."""

    threshold: Tensor
    inverted: Tensor

    @property
    def neighbour(self) -> Tensor:
        """The first potential that fires: one float above the threshold, or below it if inverted."""
        away = torch.where(self.inverted, -math.inf, math.inf).to(self.threshold)
        return torch.nextafter(self.threshold, away)


def find_cut(fires: Callable[[Tensor], Tensor], like: Tensor) -> Cut:
    """Find the cut of `fires`, which maps potentials shaped as `like` to bool and is monotone in each of them.

    Raises ValueError if the found pair does not prove itself.
    """
    largest = torch.full_like(like, torch.finfo(like.dtype).max)
    at_bottom, at_zero, at_top = fires(-largest), fires(torch.zeros_like(like)), fires(largest)
    if bool(((at_bottom == at_top) & (at_zero != at_top)).any()):
        raise ValueError("the decision is not monotone: it switches more than once")
    inverted = at_bottom & ~at_top
    silent = torch.where(inverted, rank(largest), rank(-largest))
    firing = -silent
    for _ in range(torch.finfo(like.dtype).bits):
        middle = _floor_mean(silent, firing)
        fired = fires(unrank(middle, like.dtype))
        firing = torch.where(fired, middle, firing)
        silent = torch.where(fired, silent, middle)
    threshold = unrank(silent, like.dtype)
    constant = at_bottom == at_top
    threshold = torch.where(constant, torch.where(at_top, -math.inf, math.inf).to(like), threshold)
    cut = Cut(threshold, inverted)
    if not proves(fires, cut).all():
        raise ValueError("the decision is not monotone: its cut does not prove itself")
    return cut


def proves(fires: Callable[[Tensor], Tensor], cut: Cut) -> Tensor:
    """Per channel, whether two evaluations confirm the cut: silent at the threshold, firing at its neighbour.

    A cut at -inf (always) or +inf (never) is confirmed at both ends of the finite floats.
    """
    finite = cut.threshold.isfinite()
    largest = torch.full_like(cut.threshold, torch.finfo(cut.threshold.dtype).max)
    low = fires(torch.where(finite, cut.threshold, -largest))
    high = fires(torch.where(finite, cut.neighbour, largest))
    always = (cut.threshold == -math.inf) & ~cut.inverted
    never = (cut.threshold == math.inf) & ~cut.inverted
    return (finite & ~low & high) | (always & low & high) | (never & ~low & ~high)


def _floor_mean(a: Tensor, b: Tensor) -> Tensor:
    """The floor of the mean of two int64 tensors, without overflow."""
    return (a & b) + ((a ^ b) >> 1)
