"""What a command can fail with: each error knows its exit code and says what to do.

A user's mistake is a `SnnconvError`; anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import re

_LONGEST_WORD = 200
_LONGEST = 2000


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something, or its type if none does.

    What torch adds of the node that it was executing says nothing.
    """
    said = str(error).partition("While executing ")[0]
    return next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch and ONNX Runtime say so by errors of other types."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


_NO_MEMORY = ("can't allocate memory", "not enough memory", "Failed to allocate memory", "bad_alloc", "out of memory")


def plain(text: str) -> str:
    """`text` fit for a terminal and a log: control characters escaped, words that nobody would read shortened."""
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    words = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:80]}...{word[0][-40:]}", shown)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."


class SnnconvError(Exception):
    """A failure the user can act on.

    Args:
        what: what was seen, where.
        todo: what to do about it; empty when `what` already says it.
    """

    exit_code = 2

    def __init__(self, what: str, todo: str = "") -> None:
        self.what, self.todo = plain(what), plain(todo)
        super().__init__(self.what)

    def __str__(self) -> str:
        # Not the arguments of the exception: an interpreter of torch that it passes adds its trace to them.
        return f"{self.what}; {self.todo}" if self.todo else self.what


class InputError(SnnconvError):
    """Wrong usage, or an input that cannot be read or does not fit."""

    exit_code = 2


class Refused(SnnconvError):
    """The input is sound, but snnconv cannot convert it exactly, and will not do it inexactly."""

    exit_code = 3


class BackendMissing(SnnconvError):
    """An optional package that this command needs is not installed."""

    exit_code = 4
