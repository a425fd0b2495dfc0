"""Reading a file once and completely, and writing it completely or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snnconv.errors import InputError, first_line, translated

_DEEPEST_JSON = 64


@dataclass(frozen=True)
class Content:
    """The bytes of a file, read once, so that `sha256` is the hash of the very bytes that were looked at."""

    path: Path
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the bytes in hex, as `sha256sum` prints it."""
        return hashlib.sha256(self.data).hexdigest()


def read(path: Path) -> Content:
    """Read a whole file. Raises `InputError` if it cannot be read or is empty."""
    with readable(path).open("rb") as file:
        content = Content(path, file.read())
    if not content.data:
        raise _empty(path)
    return content


def reading(path: Path, problem: str, todo: str) -> AbstractContextManager[None]:
    """Parse the contents of `path` in the block: any error of the parser becomes an `InputError`, `problem` and its cause.

    A damaged file can make a parser raise an error of any type. Errors of snnconv's own pass as they are.
    """
    return translated(lambda error: InputError(f"{path}: {problem} ({first_line(error)})", todo))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises `ValueError` for bad JSON, deep nesting, and characters that cannot be written again."""
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
    """How results call a file: by its path as the user wrote it, or by its name if that path is absolute."""
    return path.name if path.is_absolute() else path.as_posix()


def readable(path: Path) -> Path:
    """`path`, if it is a file that can be read and is not empty. Raises `InputError` if not."""
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
    """`path`, if a file can be written there. Raises `InputError` if not; `force` allows an existing file to be replaced."""
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
    """A file at `temporary` that is to become `path`; it is dropped instead if `keep` is set to False."""

    path: Path
    temporary: Path
    keep: bool = True

    def write(self, content: bytes) -> None:
        """Write the whole draft. Raises `InputError` if the disk or the permissions do not allow it."""
        with _writing(self.path):
            self.temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Draft]:
    """A draft beside `path`, with its suffix, that becomes `path` at the end of the block, or is removed if the block raises.

    Raises `InputError` if the disk or the permissions do not allow it. What the block raises passes as it is.
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


def _writing(path: Path) -> AbstractContextManager[None]:
    def failed(error: Exception) -> InputError:
        return InputError(f"{path}: cannot write: {getattr(error, 'strerror', error)}", "free some space or choose another place")

    return translated(failed, (OSError,))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
