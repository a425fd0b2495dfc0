"""The errors that a command can end with: each knows its exit code and says what to do.

A user's mistake is a `SnnconvError`; any other exception that escapes is a bug of snnconv and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LONGEST_WORD = 200
_LONGEST = 2000


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank, or the name of its type if there is none.

    The node that torch says it was executing is left out.
    """
    said = str(error).partition("While executing ")[0]
    return next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch and ONNX Runtime say so by errors of other types."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


_NO_MEMORY = ("can't allocate memory", "not enough memory", "Failed to allocate memory", "bad_alloc", "out of memory")


def plain(text: str) -> str:
    """`text` made fit for a terminal and a log: control characters escaped, very long words and texts shortened."""
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    words = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:80]}...{word[0][-40:]}", shown)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."


class SnnconvError(Exception):
    """A failure the user can act on.

    Args:
        what: what is wrong, and where.
        todo: what to do about it; empty if `what` already says it.
    """

    exit_code = 2

    def __init__(self, what: str, todo: str = "") -> None:
        self.what, self.todo = plain(what), plain(todo)
        super().__init__(self.what)

    def __str__(self) -> str:
        # Not the arguments of the exception: torch's interpreter adds its trace to them.
        return f"{self.what}; {self.todo}" if self.todo else self.what


class InputError(SnnconvError):
    """Wrong usage, or an input that cannot be read or does not fit the network."""

    exit_code = 2


class Refused(SnnconvError):
    """The input is sound, but snnconv cannot convert it exactly, and does not convert inexactly."""

    exit_code = 3


class BackendMissing(SnnconvError):
    """An optional package that this command needs is not installed."""

    exit_code = 4


@contextmanager
def translated(to: Callable[[Exception], Exception], kinds: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Raise `to(error)` for an error of one of `kinds` in the block.

    Errors of snnconv's own pass as they are.
    """
    try:
        yield
    except SnnconvError:
        raise
    except kinds as error:
        raise to(error) from error
