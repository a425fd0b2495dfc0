"""Loops are watched from outside, and their variables can be written into."""

from __future__ import annotations

import sys
from typing import Any

from snnconv.capture.loops import LoopRun, watching_loops


def nested(steps: int) -> list[int]:
    """A loop in a loop, and a loop that asks at its head."""
    total = 0
    made = []
    for _ in range(steps):
        total += 1
        for number in range(3):
            made += [number]
    while total < 4:
        total += 1
    made.append(total)
    return made


def seen(steps: int) -> dict[tuple[int, int], int]:
    """How many iterations each loop makes, by its line from the first of the function, and its turn."""
    found: dict[tuple[int, int], int] = {}

    def arrived(loop: LoopRun, iteration: int, variables: dict[str, Any]) -> None:
        assert (loop.function, loop.file) == ("nested", __file__)
        found[loop.line - nested.__code__.co_firstlineno, loop.turn] = iteration

    with watching_loops(arrived):
        nested(steps)
    return found


def test_iterations_are_counted_for_each_turn_of_a_loop() -> None:
    assert seen(2) == {(4, 0): 2, (6, 0): 3, (6, 1): 3, (8, 0): 2}
    assert seen(1) == {(4, 0): 1, (6, 0): 3, (8, 0): 3}


def test_what_is_written_into_a_variable_when_a_loop_begins_is_there_in_it() -> None:
    def arrived(loop: LoopRun, iteration: int, variables: dict[str, Any]) -> None:
        if loop.line == nested.__code__.co_firstlineno + 4 and iteration == 0:
            variables["total"] = 10

    with watching_loops(arrived):
        assert nested(1) == [0, 1, 2, 11]
    assert nested(1) == [0, 1, 2, 4]


def test_who_traced_before_traces_afterwards() -> None:
    before = sys.gettrace()
    with watching_loops(lambda loop, iteration, variables: None):
        assert sys.gettrace() is not before
    assert sys.gettrace() is before
