"""How a network calls a layer over time, and a run of that layer alone in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture import Interface
from snnconv.fresh_state import FreshState
from snnconv.identify.facts import NotCalledSo
from snnconv.user_code import running_user_code

Extras = Mapping[int | str, Any]
"""What a call hands in besides the current, by position or name."""


@dataclass(frozen=True)
class Calling:
    """How a network calls a layer.

    Attributes:
        interface: where the time steps are, and what the layer returns.
        timesteps: of how many steps a call with all of them is.
        first: what else it is handed in the first call.
        later: what else it is handed in later calls, besides what it returned before.
        fed: which of these are what it returned in the call before, and at which place.
    """

    interface: Interface
    timesteps: int
    first: Extras
    later: Extras
    fed: Mapping[int | str, int]

    @property
    def per_step(self) -> bool:
        """Whether each call is one time step."""
        return self.interface.time_axis is None


@dataclass(frozen=True)
class Alone:
    """A layer that is run apart from its network, from a fresh state every time.

    Attributes:
        layer: a copy of its own.
        fresh: the state that it starts from.
        calling: how it is called.
        name: the layer in words.
        shorter: whether a call with all steps may also be one with fewer.
    """

    layer: nn.Module
    fresh: FreshState
    calling: Calling
    name: str
    shorter: bool = False

    def outputs(self, currents: Tensor) -> Tensor:
        """What it returns for `currents` `[T, B, *shape]`, in the same layout. Raises `UserCodeError` if it fails.

        Raises `NotCalledSo` if it returns another shape.
        """
        self.fresh.restore(self.layer)
        return self.more_outputs(currents)

    def more_outputs(self, currents: Tensor) -> Tensor:
        """The same, from the state that the run before has left."""
        with torch.no_grad(), running_user_code(self.name, f"a run of it alone on currents of shape {list(currents.shape)}"):
            returned = self._steps(currents) if self.calling.per_step else self._at_once(currents)
        if returned.shape != currents.shape:
            raise NotCalledSo(f"returns {list(returned.shape[2:])} for currents of shape {list(currents.shape[2:])}")
        return returned

    def __call__(self, currents: Tensor) -> Tensor:
        """Which of `currents` `[T, B, *shape]` make it fire, bool."""
        return self.outputs(currents) != 0

    def _steps(self, currents: Tensor) -> Tensor:
        calling, spikes, returned = self.calling, [], None
        for t, current in enumerate(currents):
            extras = dict(calling.later if t else calling.first)
            for place, index in calling.fed.items():
                extras[place] = returned[index] if returned is not None else _sized_as(current, extras[place])
            returned = self._called(current.clone(), extras)
            spikes.append(calling.interface.spikes(returned))
        return torch.stack(spikes)

    def _at_once(self, currents: Tensor) -> Tensor:
        interface, steps = self.calling.interface, list(currents)
        missing = 0 if self.shorter else self.calling.timesteps - len(steps)
        steps += [torch.zeros_like(steps[0])] * missing
        extras = {place: _sized_as(steps[0], value) for place, value in self.calling.first.items()}
        returned = self._called(interface.joined(steps), extras)
        return torch.stack(interface.steps(interface.spikes(returned))[: len(currents)])

    def _called(self, current: Tensor, extras: Extras) -> Any:
        positional = [extras[i] for i in sorted(place for place in extras if isinstance(place, int))]
        named = {name: value for name, value in extras.items() if isinstance(name, str)}
        # Where hooks stand, so behind a `__call__` of the layer's own, which stays in the network.
        return nn.Module.__call__(self.layer, current, *positional, **named)


def _sized_as(current: Tensor, state: Any) -> Any:
    """A first state that the network handed in, sized for other currents: tensors of one value alone are."""
    if not isinstance(state, Tensor) or state.numel() < 2 or not bool((state == state.flatten()[0]).all()):
        return state
    return torch.full_like(current, state.flatten()[0].item())
