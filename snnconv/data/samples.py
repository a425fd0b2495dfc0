"""Samples in numbered chunks, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from snnconv.errors import InputError
from snnconv.ir.program import TimeContract

Wanted = Callable[[int], bool]
"""Whether the chunk of this number is to be read."""


@dataclass(frozen=True)
class Chunk:
    """Chunk number `index`, which begins at sample `start`.

    `x` is float32 and contiguous, `[b, C, H, W]` or `[b, T, C, H, W]`; `y` is int64 `[b]`, or None without labels.
    """

    index: int
    start: int
    x: Tensor
    y: Tensor | None


class Block(NamedTuple):
    """Consecutive samples: `x` float32 `[b, ...]`, `y` int64 `[b]` or None."""

    x: Tensor
    y: Tensor | None


def every(index: int) -> bool:
    """Want all chunks."""
    return True


class Samples(Protocol):
    """Samples that can be read from the beginning any number of times."""

    @property
    def origin(self) -> str:
        """Where they come from, as reports show it; never an absolute path."""

    @property
    def length(self) -> int | None:
        """How many there are; None if that is not known before reading."""

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        """The wanted chunks in order. Chunk k holds the samples k * size to (k + 1) * size - 1; the last may hold fewer.

        `wanted` is asked once for each chunk, in order; if the length is not known, perhaps also for one after the last.
        Raises `InputError` if samples cannot be read or do not fit, `ValueError` for a size below 1.
        """


@dataclass(frozen=True)
class Preview:
    """Data before it is known what the network takes.

    Attributes:
        shapes: the shapes that one sample may have, `[C, H, W]` or `[T, C, H, W]`: several if an item of the user's code may be a
            sample or a batch.
        open: makes samples of them, or raises `InputError` if they do not fit the contract.
    """

    shapes: tuple[tuple[int, ...], ...]
    open: Callable[[TimeContract], Samples]


class Rows(Protocol):
    """A position in a series of samples, which only moves forward."""

    def take(self, count: int) -> Block:
        """The next `count` samples, fewer only at the end."""

    def skip(self, count: int) -> int:
        """Pass over the next `count` samples; returns how many there were, fewer only at the end."""

    def close(self) -> None:
        """Close files and whatever else is open."""


def sliced(length: int, fetch: Callable[[int, int], Block], size: int, wanted: Wanted) -> Iterator[Chunk]:
    """The wanted chunks of samples of which `fetch(start, stop)` can read any."""
    for index, start in enumerate(range(0, length, _checked(size))):
        if wanted(index):
            yield Chunk(index, start, *fetch(start, min(start + size, length)))


def streamed(rows: Rows, size: int, wanted: Wanted, length: int | None = None) -> Iterator[Chunk]:
    """The wanted chunks of samples that come one after the other, `length` of them if known.

    `rows` must be at the first sample, and is closed at the end.
    """
    size = _checked(size)
    with closing(rows):
        for index in count() if length is None else range(-(-length // size)):
            if not wanted(index):
                if rows.skip(size) < size:
                    return
                continue
            x, y = rows.take(size)
            if len(x):
                yield Chunk(index, index * size, x, y)
            if len(x) < size:
                return


def joined(blocks: list[Block]) -> Block:
    """One block of the samples of `blocks`, of which there is at least one; either all of them have labels or none."""
    filled = [block for block in blocks if len(block.x)] or blocks[:1]
    if len(filled) == 1:
        return filled[0]
    labels = [block.y for block in filled if block.y is not None]
    return Block(torch.cat([block.x for block in filled]), torch.cat(labels) if labels else None)


def first(samples: Samples, n: int) -> Tensor:
    """The first `n` samples, `[n, ...]`, or all if there are fewer. Raises `InputError` if there are none."""
    for chunk in samples.read(n):
        return chunk.x
    raise InputError(f"{samples.origin}: holds no samples")


def batch(samples: Samples, size: int) -> Tensor:
    """The first `size` samples, `[size, ...]`, from the start again if there are fewer. Raises `InputError` if there are none."""
    x = first(samples, size)
    return x[torch.arange(size) % len(x)]


def _checked(size: int) -> int:
    if size < 1:
        raise ValueError(f"chunks of {size} samples")
    return size
