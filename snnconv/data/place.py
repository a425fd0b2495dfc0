"""Where an array lies on disk: an `.npy` file, or a member of an `.npz`, compressed or not."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from snnconv.data.npy_format import Header, read_header
from snnconv.errors import InputError
from snnconv.files import readable

_SKIP_BYTES = 2**20
_DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)


@dataclass(frozen=True)
class Place:
    """The array in the file `path`, or in its member `member` where that is an archive."""

    path: Path
    member: str | None = None

    def open(self) -> tuple[IO[bytes], Header]:
        """The array, its header just read. Raises `InputError` where it cannot be."""
        readable(self.path)
        with self.undamaged():
            file, size = self._open()
            try:
                return file, read_header(file, size)
            except BaseException:
                file.close()
                raise

    def header(self) -> Header:
        """What the array says of itself. Raises `InputError` where it cannot be read or is cut off."""
        file, header = self.open()
        file.close()
        return header

    def labels(self) -> Tensor:
        """The whole array as int64 `[N]`, once `header().are_labels` has been seen to hold."""
        file, header = self.open()
        with file, self.undamaged():
            content = exactly(file, header.end - header.start)
        return torch.from_numpy(np.frombuffer(content, header.dtype).astype(np.int64))

    @contextmanager
    def undamaged(self, near: str = "") -> Iterator[None]:
        """Turns what a damaged file raises into an `InputError`; only reading belongs into the block."""
        kind, advice = ("npy", "save(FILE, ARRAY)") if self.member is None else ("npz", "savez(FILE, x=..., y=...)")
        try:
            yield
        except _DAMAGE as error:
            what = f"{self.path}: not a plain .{kind}, or truncated{near}: {str(error) or type(error).__name__}"
            raise InputError(what, f"save it with numpy.{advice}") from error

    def skip(self, file: IO[bytes], size: int) -> None:
        """Pass over `size` bytes of `file`; those of an archive have to be read, since they may be compressed."""
        if self.member is None:
            file.seek(size, os.SEEK_CUR)
            return
        for at in range(0, size, _SKIP_BYTES):
            exactly(file, min(_SKIP_BYTES, size - at))

    def finish(self, file: IO[bytes]) -> None:
        """Read to the end of a member, where its checksum is compared."""
        while self.member is not None and file.read(_SKIP_BYTES):
            pass

    def _open(self) -> tuple[IO[bytes], int]:
        if self.member is None:
            file = self.path.open("rb")
            return file, os.fstat(file.fileno()).st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.open(self.member), archive.getinfo(self.member).file_size


def exactly(file: IO[bytes], size: int) -> bytes:
    """The next `size` bytes. Raises `EOFError` where there are fewer."""
    content = file.read(size)
    if len(content) < size:
        raise EOFError(f"{size - len(content)} bytes are missing")
    return content
