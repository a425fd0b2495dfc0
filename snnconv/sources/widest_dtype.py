"""Running a network's own code in float64, or in float32 if the code names the type of its tensors and fails in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from snnconv.user_code import UserCodeError

Result = TypeVar("Result")


def in_widest_dtype(attempt: Callable[[torch.dtype, float], Result]) -> Result:
    """What `attempt(dtype, tolerance)` returns in the widest type in which the user's code runs.

    Raises `UserCodeError` if it runs in neither.
    """
    try:
        return attempt(torch.float64, 1e-9)
    except UserCodeError:
        return attempt(torch.float32, 1e-3)
