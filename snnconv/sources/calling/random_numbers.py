"""Finding out that a forward draws random numbers, however rarely they matter, and in which line.

No artifact draws the same ones. A number from a generator of Python or NumPy would be a constant of the graph: the one that was
drawn while it was traced.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from snnconv.errors import Refused
from snnconv.first_look.own_code import own_functions, read_by
from snnconv.user_code import is_library, place_of

_Run = Callable[[], Any]
DRAWS = "the network draws random numbers at inference"
"""How a refusal of a network that does begins."""


class Generators:
    """The generators of random numbers that the own code of a network can reach."""

    def __init__(self, module: nn.Module) -> None:
        held = [value for layer in module.modules() for value in vars(layer).values()]
        named = [value for function in own_functions(module) for _, value in read_by(function)]
        self._states = [
            random.getstate,
            _state_of_numpy,
            *map(_state, filter(_is_generator, [torch.default_generator, *held, *named])),
        ]

    def ensure_untouched(self, run: _Run) -> None:
        """Let the network run, and raise `Refused` with the line if that draws from one of them, whatever else it does."""
        before = self._state()
        try:
            run()
        except Refused as refused:
            self._ensure(before, run, refused)
            raise
        self._ensure(before, run)

    def _ensure(self, before: list[Any], run: _Run, refused: Refused | None = None) -> None:
        if self._state() != before:
            place = self._line(run)
            raise Refused(
                f"{DRAWS}{place and f', in {place}'}", "take them out of its forward: an artifact does not draw the same ones"
            ) from refused

    def _state(self) -> list[Any]:
        return [state() for state in self._states]

    def _line(self, run: _Run) -> str:
        """The line of the user's own code that first draws while the network runs once more; empty if none is seen."""
        before, last, found = self._state(), "", [""]

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if found[-1] or is_library(frame.f_code.co_filename):
                return None
            if last and self._state() != before:
                found.append(last)
            if event == "line":
                last = place_of(frame.f_code.co_filename, frame.f_lineno)
            return trace

        tracing = sys.gettrace()
        sys.settrace(trace)
        try:
            with suppress(Refused):  # whoever runs it has said so
                run()
        finally:
            sys.settrace(tracing)
        return found[-1]


def _is_generator(value: Any) -> bool:
    return isinstance(value, torch.Generator | random.Random | np.random.Generator | np.random.RandomState)


def _state(generator: Any) -> Callable[[], Any]:
    """What gives the state of a generator, as a value that can be compared."""
    if isinstance(generator, torch.Generator):
        return lambda: generator.get_state().numpy().tobytes()
    if isinstance(generator, random.Random):
        return generator.getstate
    if isinstance(generator, np.random.Generator):
        return lambda: pickle.dumps(generator.bit_generator.state)
    return lambda: pickle.dumps(generator.get_state())


def _state_of_numpy() -> bytes:
    return pickle.dumps(np.random.get_state())
