"""The header of numpy's own file format, read without reading the array behind it.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.lib import format as npy

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """The header of an array, whose rows are its entries along the first dimension.

    Attributes:
        shape, dtype: those of the array.
        fortran: whether the values are in Fortran order.
        start: the byte at which the values begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int

    @property
    def row_bytes(self) -> int:
        """The size of one row in bytes."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def are_labels(self) -> bool:
        """Whether the array holds one integer per row."""
        return len(self.shape) == 1 and np.issubdtype(self.dtype, np.integer)

    @property
    def end(self) -> int:
        """The byte at which the values end: a whole file is at least as large."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], size: int) -> Header:
    """Read the header of `file`, which holds `size` bytes, and stop in front of the first value.

    Raises `ValueError` for anything but a whole array of plain values; nothing pickled is ever read.
    """
    header = Header(*_parsed(file), file.tell())
    if header.dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if any(n < 0 for n in header.shape):
        raise ValueError(f"its shape is {header.shape}")
    if size < header.end:
        raise ValueError(f"it should hold {header.end} bytes, but holds {size}")
    return header


def _parsed(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, bool]:
    version = npy.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"version {version} of the format")
    try:
        shape, fortran, dtype = _READERS[version](file)
    except Exception as error:  # numpy parses with Python's parser, which raises SyntaxError, TypeError, RecursionError...
        raise ValueError(str(error) or type(error).__name__) from error
    return shape, dtype, fortran
