"""Running code of the user's own: `package.module:name` is imported, and what it raises is blamed on it, with its place."""

from __future__ import annotations

import importlib
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from snnconv.errors import InputError, first_line
from snnconv.hints import factory_meant, meant

_PACKAGE = Path(__file__).parent
_STANDARD, _INSTALLED = (Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib"))
FRAMEWORKS = {"snntorch": 1, "spikingjelly": 2}
"""The frameworks whose layers are known, and their major versions."""


class UserCodeError(InputError):
    """The user's own code raised something, or ended the process."""


def imported(text: str, called: str = "") -> Callable[[], Any]:
    """What `package.module:name` names, the present folder being searched too. Raises `InputError` if there is nothing.

    `called` is what errors call it, if that is more than its name.
    """
    module, _, name = text.partition(":")
    whole, text = text, called or text
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with blamed(text, f"importing {module}"):
            package = importlib.import_module(module)
            found = getattr(package, name, None)
    except UserCodeError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        why = told(error.__cause__, kind=False)
        raise InputError(
            f"{text}: cannot import {module}: {why}", f"{factory_meant(whole)}run beside it, or install it"
        ) from error.__cause__
    if found is None:
        raise InputError(f"{text}: {module} has no '{name}'", f"{meant(name, vars(package))}name a function of it")
    return found


@contextmanager
def blamed(text: str, doing: str, todo: str = "") -> Iterator[None]:
    """Turns whatever the user's code raises into a `UserCodeError`, but for an interrupt and for errors of snnconv's own.

    `todo` is said if it was called wrongly; if it fails within, the line says more. What it prints goes to stderr: stdout is for
    results.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        # A generator of ours that nobody reads on ends by GeneratorExit; one that the user's code raises is an error of theirs.
        if _is_ours(error) or (isinstance(error, GeneratorExit) and not _place(error)):
            raise
        raise UserCodeError(f"{text}: {doing} fails: {told(error)}", "" if _place(error) else todo) from error


def told(error: BaseException, kind: bool = True) -> str:
    """What was raised and where: `ValueError: no such width, in net.py line 12 (raise ValueError(...))`."""
    name = type(error).__name__
    try:
        text = first_line(error)
    except Exception:  # an error of the user's own may fail to print itself
        text = name
    said = text if text == name or not kind else f"{name}: {text}"
    where = _place(error)
    return f"{said}, in {where}" if where else said


@cache
def is_library(file: str) -> bool:
    """Whether a source file belongs to Python, torch, a framework or snnconv, and not to the user or a package of theirs."""
    path = Path(file)
    return file.startswith("<") or (path.is_relative_to(_STANDARD) and not path.is_relative_to(_INSTALLED)) or _of_tools(path)


def place_of(file: str, line: int) -> str:
    """A line of code in words, without the folder of the machine: `net.py line 12 (y = self.fc(x))`."""
    text = linecache.getline(file, line).strip()
    return f"{Path(file).name} line {line}" + (f" ({text})" if text else "")


def _of_tools(path: Path) -> bool:
    names = ("torch", *FRAMEWORKS)
    roots = [Path(sys.modules[name].__file__ or "").parent for name in names if sys.modules.get(name) is not None]
    return any(path.is_relative_to(root) for root in (_PACKAGE, *roots))


def _place(error: BaseException) -> str:
    """The innermost line of the user's code, or else of an installed package, in the trace of `error`; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return place_of(error.filename, error.lineno or 1)
    lines = [(file, line) for file, line in _lines(error.__traceback__) if not is_library(file)]
    own = [(file, line) for file, line in lines if not Path(file).is_relative_to(_INSTALLED)]
    return place_of(*(own or lines)[-1]) if lines else ""


def _lines(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    for frame, line in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, line


def _is_ours(error: BaseException) -> bool:
    """Whether snnconv raised it: by its class, or because a watcher of ours failed that the user's code only called."""
    torch_root = Path(torch.__file__).parent
    files = [Path(file) for file, _ in _lines(error.__traceback__)]
    inner = next((file for file in reversed(files) if not file.is_relative_to(torch_root)), Path())
    watching = inner.is_relative_to(_PACKAGE / "verify") or inner.is_relative_to(_PACKAGE / "runtimes")
    return type(error).__module__.partition(".")[0] == "snnconv" or watching
