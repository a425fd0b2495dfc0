"""The simplest number that a measured constant can be, and the simplest layout of constants."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_DECIMALS = {torch.float32: 6, torch.float64: 14}
"""So many digits of a decimal number always survive in a float of the type."""


def simplest(value: Tensor, error: Tensor) -> Tensor:
    """The simplest number within `error` of each `value`, element by element, in the type of `value`.

    That is 0, or a number that float32 holds, as trained constants are, or the shortest decimal number, as constants in code
    are; the value itself if there is none.
    """
    measured, within = value.double().numpy(), error.double().expand(value.shape).numpy()
    found, open_ = measured.copy(), np.isfinite(measured)
    for candidate in _candidates(measured, value.dtype):
        fits = open_ & (np.abs(candidate - measured) <= within)
        found, open_ = np.where(fits, candidate, found), open_ & ~fits
    return torch.from_numpy(found).to(value.dtype)


def _candidates(values: np.ndarray, dtype: torch.dtype) -> list[np.ndarray]:
    single = [values.astype(np.float32).astype(np.float64)] if dtype is torch.float64 else []
    return [np.zeros_like(values), *single, *(_rounded(values, digits) for digits in range(1, _DECIMALS[dtype] + 1))]


def _rounded(values: np.ndarray, digits: int) -> np.ndarray:
    """Each value to so many significant digits."""
    with np.errstate(all="ignore"):
        magnitude = np.floor(np.log10(np.abs(values)))
        power = digits - 1 - np.nan_to_num(magnitude, neginf=0.0, posinf=0.0)
        scale = 10.0 ** np.abs(power)
        # Dividing by a power of ten gives the float that is nearest to the decimal number; multiplying by its inverse does not.
        return np.where(power >= 0, np.rint(values * scale) / scale, np.rint(values / scale) * scale)


def is_simple(value: Tensor) -> Tensor:
    """Whether each value is a decimal number of a few digits."""
    values = value.double().numpy()
    digits = _DECIMALS[value.dtype] - 1
    with np.errstate(all="ignore"):
        rounded = torch.from_numpy(_rounded(values, digits)).to(value.dtype)
    return rounded == value


def laid_out(values: Tensor) -> Tensor:
    """Constants `[C, ...]`, one per element, as a scalar if all are equal, and `[C, 1, ...]` if those of each channel are."""
    if values.numel() == 0 or bool((values == values.flatten()[0]).all()):
        return values.flatten()[0] if values.numel() else values
    if values.dim() > 1:
        per_channel = values.flatten(1)[:, :1]
        if bool((values.flatten(1) == per_channel).all()):
            return per_channel.reshape(-1, *[1] * (values.dim() - 1))
    return values
