"""Running the user's own code: importing `package.module:name`, and turning what it raises into errors that name its line."""

from __future__ import annotations

import importlib
import linecache
import re
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
HOOKING_ROOMS = (_PACKAGE / "verify", _PACKAGE / "engines")
"""Where snnconv hooks into a network that the user's code runs."""
ON_CPU = (
    "leave other devices out, and let what is made follow the input, as by x.new_zeros(...) or .to(x.device): it runs on a CPU"
)
"""What to do about code that asks for another device."""
_DEVICE = re.compile(r"CUDA|NVIDIA|MPS backend|expected all tensors to be on the same device", re.IGNORECASE)
"""Words of an error of such code."""
_FRAME = re.compile(r'File "(.+)", line (\d+)')
_STANDARD, _INSTALLED = (Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib"))
FRAMEWORKS = {"snntorch": 1, "spikingjelly": 2}
"""The spiking frameworks whose layers are known, each with its supported major version."""


class UserCodeError(InputError):
    """The user's own code raised an error, or tried to end the process."""


def imported(text: str, called: str = "") -> Callable[[], Any]:
    """The object that `package.module:name` names; the current folder is searched too.

    Raises `InputError` if there is none, and `UserCodeError` if importing the module fails. Messages call it `called`, or
    `text` if that is empty.
    """
    module, _, name = text.partition(":")
    whole, text = text, called or text
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with running_user_code(text, f"importing {module}"):
            package = importlib.import_module(module)
            named = getattr(package, name, None)
    except UserCodeError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        why = described(error.__cause__, with_type=False)
        raise InputError(
            f"{text}: cannot import {module}: {why}", f"{factory_meant(whole)}run beside it, or install it"
        ) from error.__cause__
    if named is None:
        raise InputError(f"{text}: {module} has no '{name}'", f"{meant(name, vars(package))}name a function of it")
    return named


@contextmanager
def running_user_code(text: str, doing: str, todo: str = "") -> Iterator[None]:
    """Run the user's code in the block: `text` names it in messages, `doing` says what it is asked to do.

    Raises `UserCodeError` for whatever the code raises, except an interrupt, a lack of memory and errors of snnconv's own. `todo`
    is the advice if the call itself was wrong; if a line of the user's code failed, that line is named instead. What the code
    prints goes to stderr, because stdout is for results.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        # A generator of ours that is not read to its end gets a GeneratorExit; one from a line of the user's is the user's error.
        if _is_ours(error) or (isinstance(error, GeneratorExit) and not _place(error)):
            raise
        what = described(error)
        todo = "" if _place(error) else todo
        raise UserCodeError(f"{text}: {doing} fails: {what}", ON_CPU if _DEVICE.search(what) else todo) from error


def described(error: BaseException, with_type: bool = True) -> str:
    """An error in words, with its place: `ValueError: no such width, in net.py line 12 (raise ValueError(...))`.

    Its type is left out if `with_type` is False.
    """
    name = type(error).__name__
    try:
        text = first_line(error)
    except Exception:  # an error of the user's own may fail to print itself
        text = name
    said = text if text == name or not with_type else f"{name}: {text}"
    where = _place(error)
    return f"{said}, in {where}" if where else said


@cache
def is_library(file: str) -> bool:
    """Whether a source file belongs to Python, torch, a spiking framework or snnconv, and not to the user or another package."""
    path = Path(file)
    return file.startswith("<") or (path.is_relative_to(_STANDARD) and not path.is_relative_to(_INSTALLED)) or _of_tools(path)


def is_installed(file: str) -> bool:
    """Whether a source file belongs to an installed package."""
    return Path(file).is_relative_to(_INSTALLED)


def place_of(file: str, line: int) -> str:
    """A line of code in words, without its folder: `net.py line 12 (y = self.fc(x))`."""
    text = linecache.getline(file, line).strip()
    return f"{Path(file).name} line {line}" + (f" ({text})" if text else "")


def place_in(trace: str) -> str:
    """The innermost line of the user's code in a printed stack trace, as `place_of` puts it; empty if there is none."""
    lines = [(file, int(line)) for file, line in _FRAME.findall(trace) if not is_library(file)]
    return place_of(*lines[-1]) if lines else ""


def _of_tools(path: Path) -> bool:
    names = ("torch", *FRAMEWORKS)
    roots = [Path(sys.modules[name].__file__ or "").parent for name in names if sys.modules.get(name) is not None]
    return any(path.is_relative_to(root) for root in (_PACKAGE, *roots))


def _place(error: BaseException) -> str:
    """The innermost line of the user's code in the trace of `error`, else of an installed package; empty if there is neither."""
    if isinstance(error, SyntaxError) and error.filename:
        return place_of(error.filename, error.lineno or 1)
    lines = [(file, line) for file, line in _lines(error.__traceback__) if not is_library(file)]
    own = [(file, line) for file, line in lines if not is_installed(file)]
    return place_of(*(own or lines)[-1]) if lines else ""


def _lines(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    for frame, line in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, line


def _is_ours(error: BaseException) -> bool:
    """Whether snnconv raised it: its class is ours, or a hook of ours failed that the user's code merely called."""
    torch_root = Path(torch.__file__).parent
    files = [Path(file) for file, _ in _lines(error.__traceback__)]
    inner = next((file for file in reversed(files) if not file.is_relative_to(torch_root)), Path())
    in_hook = any(inner.is_relative_to(room) for room in HOOKING_ROOMS)
    return type(error).__module__.partition(".")[0] == "snnconv" or in_hook
