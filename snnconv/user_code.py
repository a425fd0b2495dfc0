"""Running code of the user's own: `package.module:name` is imported, and what it raises is blamed on it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snnconv.errors import InputError
from snnconv.hints import factory_meant, meant


def imported(text: str, called: str = "") -> Callable[[], Any]:
    """What `package.module:name` names, the present folder being searched too. Raises `InputError` where there is nothing.

    `called` is what errors call it, where that is more than its name.
    """
    module, _, name = text.partition(":")
    whole, text = text, called or text
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{text}: cannot import {module}: {error}", f"{factory_meant(whole)}run beside it, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{text}: importing {module} fails: {type(error).__name__}: {error}") from error
    if not hasattr(package, name):
        raise InputError(f"{text}: {module} has no '{name}'", f"{meant(name, vars(package))}name a function of it")
    return getattr(package, name)


@contextmanager
def blamed(text: str, doing: str, todo: str = "") -> Iterator[None]:
    """Turns whatever the user's code raises into an `InputError`; only that code belongs into the block."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise InputError(f"{text}: {doing} fails: {type(error).__name__}: {error}", todo) from error
