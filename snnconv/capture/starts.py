"""From what the memories of a network start: what it holds before its first step, or a constant that it sets at first in it.

self.u = torch.full((1, 64), 0.5)                                     held before
mem = self.mem0.expand(x.shape[0], -1)                                held when the loop over time begins
if self.theta is None: self.theta = torch.full_like(x, 0.3)           set in the first step
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnconv.capture.loops import LoopRun, watching_loops
from snnconv.capture.memories import HELD, Memory, Start, held_by, recalling
from snnconv.capture.nested import value_at
from snnconv.capture.probing_batch import probing_batch
from snnconv.capture.slots import Call
from snnconv.errors import Refused
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.user_code import UserCodeError, running_user_code
from snnconv.widest_dtype import computing_in


def with_starts(net: nn.Module, memories: Collection[Memory], contract: TimeContract, call: Call) -> list[Memory]:
    """The `memories` of a network that has forgotten everything, each with its start unless that is 0.

    Whether the network starts from these indeed is for `ensure_starts` to see.
    """
    for dtype in (torch.float64, torch.float32):  # in the wider type a number in the code is what it is
        probe, seen = copy.deepcopy(net).to(dtype), _Seen(memories)
        x = torch.rand(probing_batch(net, contract), *contract.input_shape, generator=torch.Generator().manual_seed(0))
        try:
            with (
                torch.no_grad(),
                EntryAt(0),
                computing_in(dtype),
                running_user_code("the network", "one step of its forward"),
                seen.watching(probe),
            ):
                call(probe, x.to(dtype))
        except UserCodeError:
            continue
        return [replace(memory, start=seen.start(memory)) for memory in memories]
    return list(memories)  # the runs that follow say what is wrong with it


def ensure_starts(net: nn.Module, memories: Collection[Memory], contract: TimeContract, call: Call) -> None:
    """Raise `Refused` unless the first step of a network that has forgotten everything is that on the starts of its memories."""
    batch = probing_batch(net, contract)
    x = torch.rand(batch, *contract.input_shape, generator=torch.Generator().manual_seed(0))
    fresh, started = copy.deepcopy(net), copy.deepcopy(net)
    with torch.no_grad(), EntryAt(0), running_user_code("the network", "one step of its forward"):
        expected = call(fresh, x)
        with recalling(started, memories, [torch.zeros(batch, *memory.shape) for memory in memories]):
            found = call(started, x)
    if not all(
        a.shape == b.shape and torch.allclose(a, b, 1e-5, 1e-6, equal_nan=True) for a, b in zip(found, expected, strict=True)
    ):
        raise Refused(*another_start(memory.name for memory in memories))


def another_start(names: Iterable[str]) -> tuple[str, str]:
    """What stands against a network whose first step is not that on the starts of the memories of these names; what to do."""
    return (
        f"the network computes its first step otherwise than from 0 or another constant in what it keeps ({', '.join(names)})",
        "set what it keeps to a constant before its first step, and compute that step as every other one",
    )


class _First(NamedTuple):
    """A tensor or number that was there first: its value then, itself, and how often it had been changed in place."""

    value: Tensor
    itself: Any
    version: int

    def is_left(self, found: Any) -> bool:
        """Whether it is what was `found` at the end of the step, which so did not go on from it."""
        return found is self.itself and getattr(found, "_version", 0) == self.version


class _Seen:
    """What there is in the place of each memory, a tensor or a number, when the step begins, and what is set first in it."""

    def __init__(self, memories: Collection[Memory]) -> None:
        self._memories = memories
        self._held: dict[Memory, _First] = {}
        self._set: dict[Memory, _First] = {}

    def start(self, memory: Memory) -> Start:
        """From what a memory starts: what is held, if anything is."""
        held = self._held.get(memory)
        if held is not None and memory.loop is not None:
            return HELD if held.value.any() else None
        first = self._set.get(memory) if held is None else held
        if first is None or not first.value.any():
            return None
        value = first.value
        if bool((value == value.flatten()[0]).all()):
            return value.flatten()[0].item()
        of_samples = value.dim() > len(memory.shape)
        return None if of_samples and not bool((value == value[:1]).all()) else (value[0] if of_samples else value).float()

    @contextmanager
    def watching(self, net: nn.Module) -> Iterator[None]:
        """A block in which the network makes its first step."""
        ended: set[LoopRun | None] = set()

        def arrived(loop: LoopRun | None, iteration: int, variables: dict[str, Any]) -> None:
            for memory in [memory for memory in self._memories if memory.loop == loop]:
                there = held_by(net, memory, variables).get(memory.variable or memory.attribute)
                if iteration == 0:
                    self._set.pop(memory, None)
                    self._note(self._held, memory, there)
                elif memory in self._set and self._set[memory].is_left(value_at(there, memory.inside)):
                    del self._set[memory]
            if iteration:
                ended.add(loop)

        def passed(loop: LoopRun, variables: dict[str, Any]) -> None:
            for memory in self._memories if loop not in ended else ():
                if memory.loop == loop and memory.variable:
                    self._note(self._set, memory, variables.get(memory.variable))

        with ExitStack() as stack:
            for path in {memory.path for memory in self._memories if not memory.variable}:
                stack.enter_context(_telling(net.get_submodule(path), partial(self._hear, path)))
            if any(memory.loop for memory in self._memories):
                stack.enter_context(watching_loops(arrived, passed))
            arrived(None, 0, {})
            yield
            arrived(None, 1, {})

    def _hear(self, path: str, name: str, value: Any) -> None:
        for memory in self._memories:
            if memory.path == path and memory.attribute == name:
                self._note(self._set, memory, value)

    @staticmethod
    def _note(where: dict[Memory, _First], memory: Memory, value: Any) -> None:
        found = value_at(value, memory.inside)
        if memory not in where and isinstance(found, Tensor | int | float):
            kept = found.detach().clone() if isinstance(found, Tensor) else torch.tensor(found)
            where[memory] = _First(kept, found, getattr(found, "_version", 0))


@contextmanager
def _telling(layer: nn.Module, told: Callable[[str, Any], None]) -> Iterator[None]:
    """A block in which `told` hears of every attribute that is set in a layer."""
    kind = type(layer)

    def setting(self: nn.Module, name: str, value: Any) -> None:
        kind.__setattr__(self, name, value)
        told(name, value)

    layer.__class__ = type(kind.__name__, (kind,), {"__setattr__": setting, "__module__": kind.__module__})
    try:
        yield
    finally:
        object.__setattr__(layer, "__class__", kind)
