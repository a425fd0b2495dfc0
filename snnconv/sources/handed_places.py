"""A neuron that is handed its states may stand in several places: each place gets a neuron of its own.

    spk1, mem1 = self.lif(self.fc1(x), mem1)
    spk2, mem2 = self.lif(self.fc2(spk1), mem2)

What such a neuron returns follows from what it is handed alone. A call that is handed what an earlier one returned is in the same
place as that; one that is handed anything else is in a new place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters, identify
from snnconv.adapters.registration import unteach
from snnconv.capture import Interface
from snnconv.errors import SnnconvError
from snnconv.first_look.calls import calls
from snnconv.ir.program import TimeContract
from snnconv.sources.calling.returned import parts
from snnconv.user_code import running_user_code

_KEPT = 4
"""So many calls of a neuron are kept to be repeated."""


def a_neuron_for_each_place(module: nn.Module, contract: TimeContract) -> tuple[str, ...]:
    """Let every neuron of `module` that stands in several places be one for each, in place; returns notes in words.

    Nothing is done if the neurons would not all go through the same number of steps then.
    """
    interfaces = adapters.interfaces_of(module)
    if not any(interface.states_returned for interface in interfaces.values()):
        return ()
    for call in calls(module, contract):
        probe = copy.deepcopy(module)
        seen = {path: _Seen(interface) for path, interface in interfaces.items()}
        try:
            with ExitStack() as hooks:
                for path, each in seen.items():
                    layer = probe.get_submodule(path)
                    hooks.callback(layer.register_forward_pre_hook(each.note_call, with_kwargs=True).remove)
                    hooks.callback(layer.register_forward_hook(each.note_return).remove)
                call(probe)
        except SnnconvError:
            continue
        found = {path: each for path, each in seen.items() if each.places}
        if _go_together(found.values()):
            several = {path: each for path, each in found.items() if each.count > 1 and each.follows_from_calls(module, path)}
            return tuple(_split(module, path, each.count) for path, each in several.items())
    return ()


def _go_together(found: Iterable[_Seen]) -> bool:
    """Whether all neurons take their places in turn, and go through the same number of steps so.

    One step, in which all stand in several places, may as well be a loop in which all states are made anew.
    """
    counts = [each.count for each in found]
    steps = {each.steps for each in found}
    anew = steps == {1} and len(counts) > 1 and min(counts) > 1
    return len(steps) == 1 and 0 not in steps and not anew


def _split(module: nn.Module, path: str, count: int) -> str:
    layer = module.get_submodule(path)
    kind = type(layer).__name__
    identify.split(layer, count)
    unteach(layer)
    return f"{path} ({kind}) stands in {count} places and is handed the state of each: a neuron for each"


@dataclass
class _Seen:
    """What was seen of the calls of one neuron.

    Attributes:
        interface: how it is called.
        places: the place of each call, in order.
        calls: what it was given at the first calls.
        returned: the states that each call returned.
    """

    interface: Interface
    places: list[int] = field(default_factory=list)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    returned: list[list[Tensor]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """In how many places it stands."""
        return max(self.places) + 1

    @property
    def steps(self) -> int:
        """Through how many steps it went; 0 if it does not take its places in turn."""
        in_turn = all(place == n % self.count for n, place in enumerate(self.places))
        return len(self.places) // self.count if in_turn and len(self.places) % self.count == 0 else 0

    def note_call(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the place of a call; a forward pre-hook."""
        handed = [part.value for part in parts([*args[1:], *kwargs.values()])]
        if not self.interface.states_returned:
            self.places.append(0)
            return
        before = (n for n, states in enumerate(self.returned) if any(_is_same(a, b) for a in states for b in handed))
        self.places.append(self.places[n] if (n := next(before, None)) is not None else max(self.places, default=-1) + 1)
        if len(self.calls) < _KEPT:
            self.calls.append(copy.deepcopy((args, kwargs)))

    def note_return(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Keep the states that a call returned; a forward hook."""
        self.returned.append([part.value for part in parts(output)] if self.interface.states_returned else [])

    def follows_from_calls(self, module: nn.Module, path: str) -> bool:
        """Whether the neuron returns the same for what it is given, whatever it was given before."""
        layer = copy.deepcopy(module.get_submodule(path))
        with torch.no_grad(), running_user_code(path, "calling it alone"):
            once = list(_returned(layer, self.calls))
            backwards = list(_returned(layer, self.calls[::-1]))
        return all(map(_are_equal, once, backwards[::-1]))


def _returned(layer: nn.Module, calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> Iterator[Any]:
    return (copy.deepcopy(layer(*args, **kwargs)) for args, kwargs in copy.deepcopy(calls))


def _is_same(a: Tensor, b: Tensor) -> bool:
    return a.numel() > 0 and a.shape == b.shape and a.data_ptr() == b.data_ptr()


def _are_equal(some: Any, others: Any) -> bool:
    return all(torch.equal(a.value, b.value) for a, b in zip(parts(some), parts(others), strict=True))
