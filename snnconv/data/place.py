"""Where an array is on disk: an `.npy` file, or a member of an `.npz`, compressed or not."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from snnconv.data.npy_format import Header, read_header
from snnconv.errors import InputError, translated
from snnconv.files import readable

_SKIP_BYTES = 2**20
_READING_ERRORS = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


@dataclass(frozen=True)
class Place:
    """The array in the file `path`, or in its member `member` if the file is an archive."""

    path: Path
    member: str | None = None

    def open(self) -> tuple[IO[bytes], Header]:
        """The open array, positioned at its first value, and its header. Raises `InputError` if it cannot be read."""
        readable(self.path)
        with self.reading():
            file, size = self._open()
            try:
                return file, read_header(file, size)
            except BaseException:
                file.close()
                raise

    def header(self) -> Header:
        """The header of the array. Raises `InputError` if it cannot be read or the array is cut off."""
        file, header = self.open()
        file.close()
        return header

    def labels(self) -> Tensor:
        """The whole array as int64 `[N]`; `header().are_labels` must hold. Raises `InputError` if it is cut off."""
        file, header = self.open()
        with file, self.reading():
            content = exactly(file, header.end - header.start)
        return torch.from_numpy(np.frombuffer(content, header.dtype).astype(np.int64))

    def reading(self, near: str = "") -> AbstractContextManager[None]:
        """Read in the block, and nothing else: it raises `InputError` if the file is damaged. `near` says where, in words."""
        kind, advice = ("npy", "save(FILE, ARRAY)") if self.member is None else ("npz", "savez(FILE, x=..., y=...)")

        def damaged(error: Exception) -> InputError:
            what = f"{self.path}: not a plain .{kind}, or truncated{near}: {str(error) or type(error).__name__}"
            return InputError(what, f"save it with numpy.{advice}")

        return translated(damaged, _READING_ERRORS)

    def skip(self, file: IO[bytes], size: int) -> None:
        """Pass over `size` bytes of `file`. Those of an archive have to be read, because they may be compressed."""
        if self.member is None:
            file.seek(size, os.SEEK_CUR)
            return
        for at in range(0, size, _SKIP_BYTES):
            exactly(file, min(_SKIP_BYTES, size - at))

    def finish(self, file: IO[bytes]) -> None:
        """Read to the end of an archive's member, at which its checksum is compared."""
        while self.member is not None and file.read(_SKIP_BYTES):
            pass

    def _open(self) -> tuple[IO[bytes], int]:
        if self.member is None:
            file = self.path.open("rb")
            return file, os.fstat(file.fileno()).st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.open(self.member), archive.getinfo(self.member).file_size


def exactly(file: IO[bytes], size: int) -> bytes:
    """The next `size` bytes. Raises `EOFError` if there are fewer."""
    content = file.read(size)
    if len(content) < size:
        raise EOFError(f"{size - len(content)} bytes are missing")
    return content
