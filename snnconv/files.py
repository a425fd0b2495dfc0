"""Writing files whole or not at all, and telling them apart."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from snnconv.errors import InputError


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex, as `sha256sum` prints it."""
    with readable(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        raise InputError(f"{path}: is empty", "the file was not written completely; copy or save it again")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")
    return path


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
    """A file on its way: written at `path`, and dropped at the end if `keep` is taken back."""

    path: Path
    keep: bool = True


@contextmanager
def replacing(path: Path) -> Iterator[Draft]:
    """A draft beside `path`, with its suffix, that becomes `path` if the block ends well and vanishes if not.

    Raises `InputError` where the disk or the permissions do not allow it.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror}") from error
    try:
        draft = Draft(temporary)
        yield draft
        if draft.keep:
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror}", "free some space or choose another place") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
