"""Running passes by name, so that one that fails is named, with those that ran before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from snnconv.errors import SnnconvError, first_line

Value = TypeVar("Value")


class PassFailed(RuntimeError):
    """A pass broke on what the passes before it had left: a mistake of snnconv's, not of the user's network.

    Attributes:
        name: the pass that failed.
        before: the passes that had run, in order.
    """

    def __init__(self, name: str, before: tuple[str, ...], error: BaseException) -> None:
        ran = f"after {', '.join(before)}" if before else "the first one"
        super().__init__(f"pass {name} failed ({ran}): {type(error).__name__}: {first_line(error)}")
        self.name, self.before = name, before


def run_passes(passes: Iterable[tuple[str, Callable[[Value], Value]]], value: Value) -> Value:
    """Give `value` to the first pass, what it returns to the next, and so on.

    A `SnnconvError` (a refusal, with its reason) and a `MemoryError` come through as they are. Raises `PassFailed` for any other
    error.
    """
    ran: list[str] = []
    for name, step in passes:
        try:
            value = step(value)
        except (SnnconvError, MemoryError):
            raise
        except Exception as error:
            raise PassFailed(name, tuple(ran), error) from error
        ran.append(name)
    return value
