"""The number of time steps that a network takes by itself, and running it for another number."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from snnconv.first_look.own_code import codes_of, own_functions
from snnconv.first_look.places import BATCH_NAMES, NAMES, Attribute, Loops, Place, places_named, places_of
from snnconv.fresh_state import held as state_of

_LONGEST = 1000
"""The largest number that is looked for."""


@dataclass(frozen=True)
class StepCount:
    """The number of steps that a network takes by itself.

    Attributes:
        places: where the number stands; none if the network reads it off its input.
        written: the number that stands there.
        argument: the argument of the network's forward that must be given T.
    """

    places: tuple[Place, ...] = ()
    written: int = 0
    argument: str | None = None

    @contextmanager
    def at(self, module: nn.Module, steps: int) -> Iterator[dict[str, int]]:
        """A block in which `module` runs for `steps` steps, if it is called with the arguments that the block gets."""
        with ExitStack() as held:
            for place in self.places if steps != self.written else ():
                held.enter_context(place.held(module, self.written, steps))
            for layer in module.modules() if steps != self.written else ():
                held.callback(_put_back, layer, dict(layer._modules))
            yield {} if self.argument is None else {self.argument: steps}


def _put_back(layer: nn.Module, children: dict[str, nn.Module | None]) -> None:
    """Give a layer the layers inside it that it had: a forward may have made its list of them for one step anew."""
    if dict(layer._modules) != children:
        layer._modules.clear()
        layer._modules.update(children)


def guesses(module: nn.Module, written: int) -> Iterator[tuple[Place, ...]]:
    """Sets of places that may all hold T, which is `written`, in the order in which they are worth a try."""
    yield ()
    places = list(places_of(module, written))
    usual = [place for place in places if place.usual]
    attributes = [place for place in usual if isinstance(place, Attribute)]
    named = [place for place in usual if not isinstance(place, Loops)]
    held = [place for place in places if isinstance(place, Attribute)]
    seen: list[tuple[Place, ...]] = [()]
    sets: list[list[Place]] = [list(attributes), named, usual, *([place] for place in places), list(held), places]
    for guess in sets:
        if tuple(guess) not in seen:
            seen.append(tuple(guess))
            yield tuple(guess)


def candidates(module: nn.Module) -> list[int]:
    """Numbers that may be the T of a network: those in places with a name of T, and those in functions that loop."""
    codes = (code for function in own_functions(module) for code in codes_of(function.__code__))
    looping = [code.co_consts for code in codes if "range" in code.co_names]
    return _counts([*_numbers_named(module, NAMES), *(number for constants in looping for number in constants)])


def batch_sizes(module: nn.Module) -> list[int]:
    """Numbers that may be a size of the batch that a network holds: those in places with such a name, and those of its states."""
    tensors = (value for layer in module.modules() for value in state_of(layer).values() if isinstance(value, Tensor))
    return _counts([*_numbers_named(module, BATCH_NAMES), *(len(tensor) for tensor in tensors if tensor.dim() > 1)])


def _numbers_named(module: nn.Module, names: Collection[str]) -> list[int]:
    return [number for _, number in places_named(module, names)]


def _counts(values: Iterable[Any]) -> list[int]:
    return [n for n in dict.fromkeys(values) if isinstance(n, int) and not isinstance(n, bool) and 1 < n <= _LONGEST]
