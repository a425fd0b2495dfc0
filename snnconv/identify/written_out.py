"""Neurons that are written out in the forward of a network, with no layer of their own: where that compares potentials.

In a run of several steps the same comparisons are made again and again. How many make a step is seen from the weights with which
the network computes between them: after one step the same weights come again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from snnconv.errors import SnnconvError
from snnconv.first_look.calls import Call, calls
from snnconv.identify.firing import Comparison, Made, lines_that_fire, made_in, seems_to_loop
from snnconv.ir.program import TimeContract

_MOST = 3
"""So many guesses of one run are made."""


def comparisons_of_steps(module: nn.Module, contract: TimeContract) -> Iterator[tuple[Comparison, ...]]:
    """Guesses of the comparisons that one step of `module` makes outside of its neurons, the likeliest first.

    It need not be known how the network goes over time: it is called in several ways.
    """
    seen: set[tuple[Comparison, ...]] = set()
    for call in calls(module, contract):
        try:
            made = made_in(partial(call, copy.deepcopy(module)), call.batch)
        except SnnconvError:
            continue
        for length in _lengths(made):
            guess = tuple(each.comparison for each in made[:length])
            if guess not in seen:
                seen.add(guess)
                yield guess


def why_no_step(module: nn.Module, contract: TimeContract) -> tuple[str, str] | None:
    """What a network of which no step was found does where it fires, and what to do about it; None if it never does."""
    further = replace(contract, timesteps=contract.timesteps + 2)
    for call, on_more_frames in zip(calls(module, contract), calls(module, further), strict=False):
        compares, rounds = _lines(module, call)
        if call.layout != "image" and 0 < len(compares) < len(_lines(module, on_more_frames)[0]):
            return (
                f"the network fires where its forward compares, first in {compares[0]}, and what it does there does not repeat "
                "from frame to frame: it may go over the frames more than once, backwards perhaps, or go on behind the last",
                "let each time step follow from its own frame and from what the steps before left",
            )
        if len(rounds) > len(set(rounds)):
            return (
                f"the network fires any number of spikes at a step where it rounds to an integer, in {rounds[0]}",
                "bound their number, as in torch.clamp(torch.floor(u), 0, 4)",
            )
    return None


def _lines(module: nn.Module, call: Call) -> tuple[list[str], list[str]]:
    try:
        return lines_that_fire(partial(call, copy.deepcopy(module)), call.batch)
    except SnnconvError:
        return [], []


def _lengths(made: Sequence[Made]) -> list[int]:
    """How many comparisons may make a step: as few as repeat, and all, unless there is a loop over steps among them."""
    periods = [length for length in range(1, len(made) // 2 + 1) if len(made) % length == 0 and _repeats(made, length)]
    lengths = [*periods[:_MOST], len(made)] if made else []
    return [length for length in lengths if not seems_to_loop(made[:length])]


def _repeats(made: Sequence[Made], length: int) -> bool:
    """Whether what is made repeats after `length` comparisons; weights before the first may belong to all steps."""
    same = all(a.comparison == b.comparison for a, b in zip(made, made[length:], strict=False))
    return same and all(a.weights == b.weights for a, b in zip(made[1:], made[1 + length :], strict=False))
