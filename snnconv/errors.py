"""What a command can fail with: each error knows its exit code and says what to do.

A user's mistake is a `SnnconvError`; anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class SnnconvError(Exception):
    """A failure the user can act on.

    Args:
        what: what was seen, where.
        todo: what to do about it; empty when `what` already says it.
    """

    exit_code = 2

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(f"{what}; {todo}" if todo else what)
        self.what = what
        self.todo = todo


class InputError(SnnconvError):
    """Wrong usage, or an input that cannot be read or does not fit."""

    exit_code = 2


class Refused(SnnconvError):
    """The input is sound, but snnconv cannot convert it exactly, and will not do it inexactly."""

    exit_code = 3


class BackendMissing(SnnconvError):
    """An optional package that this command needs is not installed."""

    exit_code = 4
