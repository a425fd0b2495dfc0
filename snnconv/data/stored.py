"""Samples in an array on disk, read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import torch
from torch import Tensor

from snnconv.data.checks import check_dtype, misshapen, narrowed
from snnconv.data.npy_format import Header
from snnconv.data.place import Place, exactly
from snnconv.data.samples import Block, Chunk, Wanted, every, streamed
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract

_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Stored:
    """Samples in an array on disk, with labels `y` `[N]` in memory, or None. Made by `open_stored`, which checks the header."""

    place: Place
    header: Header
    y: Tensor | None

    @property
    def origin(self) -> str:
        """The name of the file."""
        return self.place.path.name

    @property
    def length(self) -> int:
        """N."""
        return self.header.shape[0]

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        """The wanted chunks. Raises `InputError` for damage and for values that do not fit."""
        return streamed(self.rows(), size, wanted, self.length)

    def rows(self) -> StoredRows:
        """A position at the first sample. The file is opened when a sample is taken."""
        return StoredRows(self)


def open_stored(place: Place, contract: TimeContract) -> Stored:
    """The samples at `place`, without labels; only the header is read. Raises `InputError` if they do not fit."""
    header, path = place.header(), str(place.path)
    check_dtype(path, header.dtype)
    if header.shape[1:] != contract.batch_shape(0)[1:]:
        raise misshapen(path, header.shape, contract)
    if header.shape[0] == 0:
        raise InputError(f"{path}: x holds no samples")
    if header.fortran:
        raise InputError(f"{path}: x is in Fortran order, one sample is spread over all of it", "save numpy.ascontiguousarray(x)")
    return Stored(place, header, None)


class StoredRows:
    """A position in stored samples. Skipping only counts; the bytes are passed over when a later sample is taken."""

    def __init__(self, stored: Stored) -> None:
        self._stored, self._header = stored, stored.header
        self._path = stored.place.path
        self._file: IO[bytes] | None = None
        self._at, self._reached = 0, 0

    def skip(self, count: int) -> int:
        """Pass over the next `count` samples; returns how many there were."""
        start, self._at = self._at, min(self._at + count, self._stored.length)
        return self._at - start

    def take(self, count: int) -> Block:
        """The next `count` samples, fewer only at the end. Raises `InputError` for damage and for values that do not fit."""
        start, stop = self._at, self._at + self.skip(count)
        x = np.empty((stop - start, *self._header.shape[1:]), np.float32)
        step = max(1, _BLOCK_BYTES // self._header.row_bytes)
        for at in range(start, stop, step):
            end = min(at + step, stop)
            x[at - start : end - start] = self._narrowed(self._read(at, end), at)
        y = self._stored.y
        return Block(torch.from_numpy(x), None if y is None else y[start:stop])

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()

    def _read(self, start: int, stop: int) -> np.ndarray:
        file = self._opened()
        with self._stored.place.reading(f" near sample {start}"):
            self._stored.place.skip(file, (start - self._reached) * self._header.row_bytes)
            content = exactly(file, (stop - start) * self._header.row_bytes)
        self._reached = stop
        return np.frombuffer(content, self._header.dtype).reshape(-1, *self._header.shape[1:])

    def _narrowed(self, rows: np.ndarray, start: int) -> np.ndarray:
        """The rows as float32. If they are not finite because the file is damaged, the error says so."""
        try:
            return narrowed(str(self._path), rows, start)
        except InputError:
            with self._stored.place.reading(f" near sample {start}"):
                self._stored.place.finish(self._opened())
            raise

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file, header = self._stored.place.open()
            if header != self._header:
                raise InputError(f"{self._path}: has been replaced while it was in use", "leave it in place until the end")
        return self._file
