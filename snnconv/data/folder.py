"""A folder of `.npz` files, read in the order of their names as if they were one file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from snnconv.data import npz
from snnconv.data.kind import DataKind
from snnconv.data.samples import Block, Chunk, Preview, Rows, Wanted, every, joined, streamed
from snnconv.data.stored import Stored
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract


@dataclass(frozen=True)
class Folder:
    """The samples of several files, one after the other. Messages give the number of a sample within its own file."""

    origin: str
    files: tuple[Stored, ...]

    @property
    def length(self) -> int:
        """How many samples the files hold together."""
        return sum(file.length for file in self.files)

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        """The wanted chunks, which may hold samples of two files; a file without a wanted sample is not opened."""
        return streamed(_Joined(file.rows() for file in self.files), size, wanted, self.length)


def claims(text: str) -> bool:
    """Whether `text` is the path of a folder."""
    try:
        return Path(text).is_dir()
    except OSError:
        return False


def preview(text: str) -> Preview:
    """What the header of x in the first file says. Raises `InputError` if there is no file."""
    return Preview(npz.preview(str(_files(Path(text))[0])).shapes, partial(open_folder, text))


def open_folder(text: str, contract: TimeContract) -> Folder:
    """Every `*.npz` in the folder, except hidden ones. Raises `InputError` if there is none, or if one does not fit."""
    files = tuple(npz.open_npz(str(file), contract) for file in _files(Path(text)))
    _check_labels(files)
    return Folder(Path(text).resolve().name, files)


def _files(path: Path) -> list[Path]:
    try:
        paths = sorted(file for file in path.iterdir() if file.suffix == ".npz" and not file.name.startswith("."))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", "check its permissions") from error
    if not paths:
        raise InputError(f"{path}: holds no .npz file", "data in a folder are .npz files with x and optionally y")
    return paths


def _check_labels(files: tuple[Stored, ...]) -> None:
    """Raise `InputError` if some files have labels and others have none."""
    labelled = next((file.place.path for file in files if file.y is not None), None)
    bare = next((file.place.path for file in files if file.y is None), None)
    if labelled and bare:
        raise InputError(f"{bare}: has no labels, but {labelled} has", "give all files of the folder a y, or none")


class _Joined:
    """A position in several series of samples, one after the other."""

    def __init__(self, parts: Iterable[Rows]) -> None:
        self._parts = deque(parts)

    def take(self, count: int) -> Block:
        """The next `count` samples, fewer only at the end."""
        blocks = []
        while count and self._parts:
            blocks.append(self._parts[0].take(count))
            count -= len(blocks[-1].x)
            self._drop_if(count > 0)
        return joined(blocks)

    def skip(self, count: int) -> int:
        """Pass over the next `count` samples; returns how many there were."""
        passed = 0
        while passed < count and self._parts:
            passed += self._parts[0].skip(count - passed)
            self._drop_if(passed < count)
        return passed

    def close(self) -> None:
        """Close every file that is open."""
        for part in self._parts:
            part.close()

    def _drop_if(self, ended: bool) -> None:
        if ended:
            self._parts.popleft().close()


KIND = DataKind("a folder of .npz files", claims, preview)
