"""Reading files once, writing them whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snnconv.errors import InputError, SnnconvError, first_line

_DEEPEST_JSON = 64


@dataclass(frozen=True)
class Content:
    """The bytes of a file as they were read, once: whatever is found in them is true of `sha256` and of nothing else."""

    path: Path
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """In hex, as `sha256sum` prints it."""
        return hashlib.sha256(self.data).hexdigest()


def read(path: Path) -> Content:
    """Read a whole file. Raises `InputError` if there is nothing to read."""
    with readable(path).open("rb") as file:
        content = Content(path, file.read())
    if not content.data:
        raise _empty(path)
    return content


@contextmanager
def undamaged(path: Path, what: str, todo: str) -> Iterator[None]:
    """Whatever a damaged file makes its readers raise, as one `InputError`: `what` the file is not, and the cause.

    Damage reaches every corner of a reader, so that no list of its exceptions is complete. Errors of ours pass as they are.
    """
    try:
        yield
    except SnnconvError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {what} ({first_line(error)})", todo) from error


def parse_json(text: str | bytes) -> Any:
    """JSON that nobody stumbles over: not too deep, and of characters that can be written again. Raises `ValueError`."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    level = [value]
    for _ in range(_DEEPEST_JSON):
        level = [inner for one in level for inner in _inside(one)]
    if level:
        raise ValueError(_TOO_DEEP)
    json.dumps(value, ensure_ascii=False).encode()
    return value


_TOO_DEEP = f"it is nested more than {_DEEPEST_JSON} deep"


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def shown(path: Path) -> str:
    """How a file is called in results: as the user wrote it, but never by a path of this machine alone."""
    return path.name if path.is_absolute() else path.as_posix()


def readable(path: Path) -> Path:
    """`path`, if it is a file with something in it. Raises `InputError` otherwise."""
    if not _there(path):
        raise InputError(f"{path}: no such file", "check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a directory", "name a file in it")
    if path.stat().st_size == 0:
        raise _empty(path)
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")
    return path


def _empty(path: Path) -> InputError:
    return InputError(f"{path}: is empty", "the file was not written completely; copy or save it again")


def writable(path: Path, force: bool) -> Path:
    """`path`, if a file may be written there. Raises `InputError` otherwise, before any work is done."""
    there = _there(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory", "name a file in it")
    if there and not force:
        raise InputError(f"{path}: already exists", "pass --force to replace it")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist", "create it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: no permission to write in {path.parent}")
    return path


def _there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}", "check the path") from error
    return True


@dataclass
class Draft:
    """What will become `path`, kept at `temporary` until then, and dropped at the end if `keep` is taken back."""

    path: Path
    temporary: Path
    keep: bool = True

    def write(self, content: bytes) -> None:
        """Write all of the draft. Raises `InputError` if the disk or the permissions do not allow it."""
        with _writing(self.path):
            self.temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Draft]:
    """A draft beside `path`, with its suffix, that becomes `path` if the block ends well and vanishes if not.

    Raises `InputError` if the disk or the permissions do not allow it; an error of the block's own stays what it is.
    """
    with _writing(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    draft = Draft(path, Path(name))
    try:
        yield draft
        if draft.keep:
            with _writing(path):
                draft.temporary.chmod(0o666 & ~_umask())
                draft.temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.temporary.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror}", "free some space or choose another place") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
