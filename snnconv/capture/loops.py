"""Watching the loops of a network's own code: the local variables of a loop whenever an iteration begins, and at its end.

A network that loops over time itself may keep its potentials in local variables, or in attributes that it makes anew in each
call. Nobody can reach these from outside of its forward but at the head of the loop, which is where one step ends and another
begins. Python tells when a line is reached, as it does for debuggers; what is then written into the variables stays there.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from snnconv.user_code import is_library


class LoopRun(NamedTuple):
    """A loop at a line of a function, the `turn`-th time that it is run, counted from 0."""

    file: str
    function: str
    line: int
    turn: int


Arrived = Callable[[LoopRun, int, dict[str, Any]], None]
"""Told of a loop that has made so many iterations and may begin another; the variables may be written into."""
Passed = Callable[[LoopRun, dict[str, Any]], None]
"""Told of a loop inside of which a line is reached, and the variables."""


def _unheeded(loop: LoopRun, variables: dict[str, Any]) -> None:
    """The `Passed` of who only looks at the heads of loops."""


@contextmanager
def watching_loops(arrived: Arrived, passed: Passed = _unheeded) -> Iterator[None]:
    """A block in which `arrived` is told of every loop in code that belongs to no library, whenever its head is reached, and
    `passed` at every line inside it."""
    before = sys.gettrace()
    sys.settrace(_Watch(arrived, passed).enter)
    try:
        yield
    finally:
        sys.settrace(before)


class _Watch:
    """What watches the loops of one block."""

    def __init__(self, arrived: Arrived, passed: Passed) -> None:
        self.arrived, self.passed = arrived, passed
        self._turns: Counter[tuple[str, str, int]] = Counter()
        self._files: dict[str, dict[int, int]] = {}

    def enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        """A trace function: what watches the lines of a function that is called, if it has loops."""
        file = frame.f_code.co_filename
        if is_library(file):
            return None
        if file not in self._files:
            self._files[file] = _loops_in(file)
        ends = self._files[file]
        return _Lines(self, ends).reached if ends else None

    def begin(self, file: str, function: str, line: int) -> LoopRun:
        """The loop at a line, one turn further."""
        turn = self._turns[file, function, line]
        self._turns[file, function, line] += 1
        return LoopRun(file, function, line, turn)


class _Lines:
    """The lines that one call of a function reaches."""

    def __init__(self, watch: _Watch, ends: dict[int, int]) -> None:
        self._watch, self._ends = watch, ends
        self._running: dict[int, tuple[LoopRun, int]] = {}

    def reached(self, frame: FrameType, event: str, argument: Any) -> Any:
        """A trace function of one frame."""
        line = frame.f_lineno
        if event != "line":
            return self.reached
        variables = frame.f_locals  # asking again would forget what is written into them
        for head in [head for head in self._running if not head <= line <= self._ends[head]]:
            del self._running[head]
        if line in self._ends:
            code = frame.f_code
            loop, made = self._running.get(line) or (self._watch.begin(code.co_filename, code.co_qualname, line), -1)
            self._running[line] = loop, made + 1
            self._watch.arrived(loop, made + 1, variables)
        for loop, _ in self._running.values():
            self._watch.passed(loop, variables)
        return self.reached


def _loops_in(file: str) -> dict[int, int]:
    """The last line of every loop in a source file, by its first."""
    linecache.checkcache(file)
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    return {node.lineno: node.end_lineno or node.lineno for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)}
