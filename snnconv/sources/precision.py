"""Running a network's own code in float64, or in float32 if it refuses that: some code names the type of its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from snnconv.user_code import UserCodeError

Found = TypeVar("Found")


def in_widest(attempt: Callable[[torch.dtype, float], Found]) -> Found:
    """What `attempt(dtype, tolerance)` gives in the widest type in which the user's code runs. Raises `UserCodeError` if none."""
    try:
        return attempt(torch.float64, 1e-9)
    except UserCodeError:
        return attempt(torch.float32, 1e-3)
