"""Recording how a network calls its layers over time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture import Interface
from snnconv.errors import SnnconvError
from snnconv.first_look.calls import Call
from snnconv.identify.calling import Calling, Extras
from snnconv.identify.identify import FEW

_KEPT = 3
"""So many calls of a layer are kept."""
_LOOKED_AT = 2**14
"""So many values of what a layer returned are looked at."""


@dataclass
class Recorded:
    """The calls of one layer.

    Attributes:
        count: how many there were.
        current: what it was given at the first, or None if that was no float tensor.
        extras: what else it was handed in, per call; of the first call copies, because the layer may change it in place.
        returned: what it returned, per call.
    """

    count: int = 0
    current: Any = None
    extras: list[Extras] = field(default_factory=list)
    handed: list[Extras] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)

    def callings(self, timesteps: int) -> Iterator[Calling]:
        """The ways in which the layer may have been called over time, in a network of so many steps, the likeliest first."""
        first, spikes_at = self.returned[0], self._spikes_at()
        if spikes_at is None:
            return
        states = len(first) - 1 if isinstance(first, tuple) else 0
        fed = self._fed(spikes_at, states)
        if fed is None:
            return
        for axis, merged in self._axes(timesteps):
            interface = Interface(axis, states, spikes_at=spikes_at, merged=merged)
            steps = merged or (1 if axis is None else self.current.shape[axis])
            yield Calling(interface, steps, self.extras[0], self.extras[-1], fed)

    def _spikes_at(self) -> int | None:
        """Where its spikes are in what it returned: the first tensor in the layout of the current that holds few values."""
        if not isinstance(self.current, Tensor) or not self.current.is_floating_point() or self.current.dim() < 2:
            return None
        first = self.returned[0]
        for index, value in enumerate(first if isinstance(first, tuple) else (first,)):
            if isinstance(value, Tensor) and value.shape == self.current.shape and _holds_few_values(value):
                return index
        return None

    def _axes(self, timesteps: int) -> Iterator[tuple[int | None, int]]:
        """Where the time steps may be, and how many are merged with the batch; the likeliest first."""
        yield None, 0
        if self.current.dim() > 2:
            yield from ((axis, 0) for axis in (0, 1, -1))
        if len(self.current) % timesteps == 0 and len(self.current) > timesteps > 1:
            yield from ((axis, timesteps) for axis in (0, 1))

    def _fed(self, spikes_at: int, states: int) -> dict[int | str, int] | None:
        """Which extras are what the call before returned, and at which place; None if others change from call to call.

        Of a single call the numbers tell: states are returned in the order in which they are handed in.
        """
        if len(self.handed) == 1:
            places = list(self.handed[0])
            among = [i for i in range(states + 1) if i != spikes_at or len(places) == states + 1]
            return dict(zip(places, among, strict=True)) if len(places) == len(among) and states else {}
        fed: dict[int | str, int] = {}
        for before, now in zip(self.returned, self.handed[1:], strict=False):
            values = before if isinstance(before, tuple) else (before,)
            fed |= {place: i for place, extra in now.items() for i, value in enumerate(values) if _is_same(extra, value)}
        free = [{place: extra for place, extra in extras.items() if place not in fed} for extras in self.handed[1:]]
        return fed if all(_are_equal(free[0], extras) for extras in free) else None


def recorded(net: nn.Module, call: Call) -> dict[str, Recorded]:
    """The calls of every layer of `net` that is not torch's own while `call(net)` runs, by path; empty if it fails."""
    calls: dict[str, Recorded] = {}
    with ExitStack() as hooks:
        for path, layer in net.named_modules():
            if path and not type(layer).__module__.startswith("torch."):
                before, after = _hooks(calls, path)
                hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
                hooks.callback(layer.register_forward_hook(after, with_kwargs=True).remove)
        try:
            call(net)
        except SnnconvError:
            return {}
    return {path: each for path, each in calls.items() if each.returned}


def _hooks(calls: dict[str, Recorded], path: str) -> tuple[Any, Any]:
    def before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen = calls.setdefault(path, Recorded())
        seen.count += 1
        if seen.count > _KEPT:
            return
        extras: dict[int | str, Any] = dict(enumerate(args)) | kwargs
        current = extras.pop(0, None)
        if seen.count == 1:
            seen.current = current.clone() if isinstance(current, Tensor) else current
        seen.handed.append(extras)
        seen.extras.append({place: value.clone() if isinstance(value, Tensor) else value for place, value in extras.items()})

    def after(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], returned: Any) -> None:
        if len(calls[path].returned) < _KEPT:
            calls[path].returned.append(returned)

    return before, after


def _holds_few_values(value: Tensor) -> bool:
    """Whether the first of its values are few; a spiking layer is asked again on other currents."""
    return len(value.flatten()[:_LOOKED_AT].unique()) <= FEW


def _is_same(extra: Any, value: Any) -> bool:
    """Whether what is handed in is what was returned, or a tensor that shares its memory."""
    if isinstance(extra, Tensor) and isinstance(value, Tensor):
        return extra.shape == value.shape and extra.data_ptr() == value.data_ptr() and extra.numel() > 0
    return extra is value and extra is not None and not isinstance(extra, bool | int | float | str)


def _are_equal(some: Extras, others: Extras) -> bool:
    if some.keys() != others.keys():
        return False
    pairs = ((some[place], others[place]) for place in some)
    return all(torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b for a, b in pairs)
