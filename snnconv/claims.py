"""Checking the sizes that a file claims for its tensors: a few bytes can describe a tensor larger than any memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

_TIMES = 16
_ALWAYS = 2**26
"""How many bytes a file of any size may claim: repeated values (stride 0) and tensors that share memory are sound."""


def check_span(elements: int, offset: int, shape: Sequence[int], strides: Sequence[int]) -> None:
    """Raise `ValueError` unless a tensor at `offset` lies within a storage of `elements` elements."""
    if not all(type(n) is int and n >= 0 for n in (elements, offset, *shape, *strides)) or len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {shape} and strides {strides} at {offset} is none")
    reach = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    if math.prod(shape) and reach > elements:
        raise ValueError(f"a tensor of shape {list(shape)} needs {reach} values, but its storage holds {elements}")


def check_total(claimed: int, size: int) -> None:
    """Raise `ValueError` if a file of `size` bytes claims contents of more than 16 times that and 64 MiB."""
    if claimed > _TIMES * size + _ALWAYS:
        raise ValueError(f"its contents claim {claimed} bytes, but the file holds {size}")
