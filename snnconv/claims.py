"""What the tensors of a file may claim to be: a few bytes can describe a tensor that no memory holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

_TIMES = 16
_ALWAYS = 2**26
"""Bytes that a file of any size may claim: repeated values (stride 0) and tensors that share memory are sound, in measure."""


def check_span(elements: int, offset: int, shape: Sequence[int], strides: Sequence[int]) -> None:
    """Raise `ValueError` unless a tensor lies within a storage of that many elements."""
    if not all(type(n) is int and n >= 0 for n in (elements, offset, *shape, *strides)) or len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {shape} and strides {strides} at {offset} is none")
    reach = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    if math.prod(shape) and reach > elements:
        raise ValueError(f"a tensor of shape {list(shape)} needs {reach} values, but its storage holds {elements}")


def check_total(claimed: int, size: int) -> None:
    """Raise `ValueError` if what is in a file of `size` bytes claims to be far larger: over 16 times as much and 64 MiB."""
    if claimed > _TIMES * size + _ALWAYS:
        raise ValueError(f"its contents claim {claimed} bytes, but the file holds {size}")
