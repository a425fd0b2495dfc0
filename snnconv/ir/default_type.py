"""The type of numbers that stand in code without one: `mask * 0.5`, `torch.zeros(n)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def numbers_in(dtype: torch.dtype) -> Iterator[None]:
    """While it is on, such numbers are `dtype`, a type of real numbers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
