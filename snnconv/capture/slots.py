"""The stand-in of a neuron while its network is captured: a forward that leaves a `snnconv::neuron` in the graph.

The neuron keeps its class, its attributes and the hooks on it, so that the network can ask it anything. Its state, however, is in
the graph. An attribute that follows from the potential and the spikes of this step is computed from them where it is read; others
that hold state are out of date, and reading one of them is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.ir.time import Outputs
from snnconv.user_code import is_library, place_of

_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
FED_BACK = "spikes"
"""The attribute of a neuron that holds the spikes of the step before, while its network is captured."""

Call = Callable[[nn.Module, Tensor], Outputs]
"""How one step of a module is called on `x` `[B, ...]`; it gives its outputs, each `[B, ...]`."""
Shown = Callable[[Any, Tensor, Tensor], dict[str, Tensor | None]]
"""What the attributes of a neuron hold after a step, from the neuron, its potential before firing and its spikes, `[B, ...]`.

States that it returns come first, in their order; what no function of the two gives is None.
"""


def shows_nothing(neuron: Any, potential: Tensor, spikes: Tensor) -> dict[str, Tensor | None]:
    """The `Shown` of a neuron whose attributes cannot be read."""
    return {}


@dataclass(frozen=True)
class Feedback:
    """How a layer feeds the spikes that it had at the step before into its own current.

    Attributes:
        operator: the submodule of the layer through which they go; what it gives is added to the current.
        kept: the attribute in which the layer keeps them from step to step.
    """

    operator: str
    kept: str
    keeps = ()

    def current(self, layer: nn.Module, x: Tensor, spikes: Tensor) -> tuple[Tensor, ...]:
        """What arrives at the neuron for the current `x` of a step and the spikes of the step before, all `[B, ...]`."""
        added: Tensor = layer.get_submodule(self.operator)(spikes)
        return (x + added,)


@dataclass(frozen=True)
class Filter:
    """How a layer filters its current with memories of its own, until a neuron without a memory fires on what comes out.

    Attributes:
        keeps: the names of the memories, each `[B, ...]` like the current and 0 at first.
        current: `function(layer, x, spikes, *kept)`: what arrives at the neuron, and what is kept then, for the current x of a
            step, the spikes of the step before and what was kept.
        potential: the attribute in which the layer holds what arrived at the neuron.
    """

    keeps: tuple[str, ...]
    current: Callable[..., tuple[Tensor, ...]]
    potential: str


@dataclass(frozen=True)
class Interface:
    """How a network calls a neuron.

    Attributes:
        time_axis: where the time steps are in what it is given and returns: 0 `[T, B, ...]`, 1 `[B, T, ...]`, -1 `[B, ..., T]`;
            None if it is called once per step, on `[B, ...]`.
        states_returned: how many states it returns besides its spikes.
        shows: what its attributes hold after a step.
        gives: what it gives in the place of its spikes, from the neuron and its potential before firing; None if it gives spikes.
        spikes_at: where in the tuple that it returns then the spikes are.
        merged: how many steps are merged with the batch, `[T * B, ...]` or `[B * T, ...]`, with the time axis 0 or 1; 0 if none.
        amplitude: what it returns for a spike.
        dendrite: what it makes of its current before the neuron that it is integrates that; None if nothing.
    """

    time_axis: int | None = None
    states_returned: int = 0
    shows: Shown = shows_nothing
    gives: Callable[[Any, Tensor], Any] | None = None
    spikes_at: int = 0
    merged: int = 0
    amplitude: float = 1.0
    dendrite: Feedback | Filter | None = None

    def steps(self, value: Tensor) -> list[Tensor]:
        """What a neuron is given or returns in one call, as one tensor `[B, ...]` per step."""
        if self.time_axis is None:
            return [value]
        if self.merged:
            value = value.unflatten(0, (self.merged, -1) if self.time_axis == 0 else (-1, self.merged))
        return list(value.unbind(self.time_axis))

    def joined(self, steps: Sequence[Tensor]) -> Tensor:
        """The inverse of `steps`. Raises ValueError for several steps that are not of one call."""
        if self.time_axis is not None:
            whole = torch.stack(list(steps), self.time_axis)
            return whole.flatten(0, 1) if self.merged else whole
        (step,) = steps
        return step

    def spikes(self, returned: Any) -> Any:
        """The spikes in what a neuron returns, times the amplitude."""
        return returned[self.spikes_at] if isinstance(returned, tuple) else returned

    def with_spikes(self, returned: Any, spikes: Tensor) -> Any:
        """What a neuron returns, with other spikes, times the amplitude."""
        if not isinstance(returned, tuple):
            return spikes
        return (*returned[: self.spikes_at], spikes, *returned[self.spikes_at + 1 :])


@dataclass(eq=False)
class Slot:
    """The place of the neuron at `path`.

    Attributes:
        carried_attributes: the attributes of the neuron that hold its state.
        carried: the state `[B, ...]` in the graph; None while shapes are looked at, when the slot notes what it is given.
        shapes: the shape of the potential, without the batch, at each call.
        rows: the size of the batch at the last call.
        order: the slots of the network in the order in which they were called.
        shown: what the attributes of the neuron hold after this step, by name.
        told: what the neuron held, and was handed besides its current, when it was called while shapes are looked at, by name.
    """

    path: str
    interface: Interface
    carried_attributes: frozenset[str]
    carried: Tensor | None = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    rows: int = 0
    order: list[Slot] = field(default_factory=list)
    shown: dict[str, Tensor] = field(default_factory=dict)
    told: dict[str, Tensor] = field(default_factory=dict)

    def step(self, neuron: nn.Module, current: Tensor) -> Any:
        """What `neuron` gives for the `current` of one step: its spikes, and the states that it returns."""
        interface = self.interface
        axis = None if interface.merged else interface.time_axis
        x = current if axis is None else current.squeeze(axis)
        if self.carried is None:
            self._note(x)
            spikes, following, potential = torch.zeros_like(x), torch.zeros_like(x), x
        else:
            if interface.dendrite is not None:
                x = self._through(interface.dendrite, neuron, x)
            spikes, following, potential = torch.ops.snnconv.neuron(x, self.carried, self.path)
            self.carried = following
            vars(neuron)[FED_BACK] = spikes
        shown = interface.shows(neuron, potential, spikes)
        self.shown = {name: value for name, value in shown.items() if value is not None}
        if interface.gives is not None:
            return interface.gives(neuron, potential)
        if interface.amplitude != 1:
            spikes = spikes * interface.amplitude
        spikes = spikes if axis is None else spikes.unsqueeze(axis)
        if not interface.states_returned:
            return spikes
        states = [*shown.values(), *[None] * interface.states_returned][: interface.states_returned]
        named = [following if state is None else state for state in states]
        return (*named[: interface.spikes_at], spikes, *named[interface.spikes_at :])

    def _through(self, dendrite: Feedback | Filter, neuron: nn.Module, x: Tensor) -> Tensor:
        held = vars(neuron)
        arrived, *kept = dendrite.current(neuron, x, held[FED_BACK], *(held[name] for name in dendrite.keeps))
        held.update(zip(dendrite.keeps, kept, strict=True))
        return arrived

    def take(self) -> Tensor:
        """The state that a step has left; the slot holds nothing afterwards. Raises `ValueError` if it held none."""
        if self.carried is None:
            raise ValueError(f"neuron {self.path} carries nothing")
        carried, self.carried, self.shown = self.carried, None, {}
        return carried

    def ensure_unread(self, name: str) -> None:
        """Raise `Refused` if the attribute `name` holds a state and code that belongs to no framework is reading it."""
        reader = sys._getframe(2)
        if name in self.carried_attributes and not is_library(reader.f_code.co_filename):
            where = place_of(reader.f_code.co_filename, reader.f_lineno)
            raise Refused(
                f"the network computes with the state of neuron {self.path}: it reads its {name} in {where}",
                "read a potential that the neuron holds after its call, in the same step, or its spikes",
            )

    def _note(self, x: Tensor) -> None:
        self.rows = len(x)
        self.shapes.append(tuple(x.shape[1:]))
        self.order.append(self)


def stand_in(neuron: nn.Module, slot: Slot) -> None:
    """Let `neuron`, in place, compute what `slot` does."""
    kind = type(neuron)

    def forward(self: nn.Module, current: Tensor, *states: Any, **named_states: Any) -> Tensor | tuple[Tensor, ...]:
        if slot.carried is None:
            slot.told = held_tensors(self) | _tensors(dict(enumerate(states, 1)) | named_states, "argument ")
        return slot.step(self, current)

    def get_attribute(self: nn.Module, name: str) -> Any:
        if name in slot.shown:
            return slot.shown[name]
        slot.ensure_unread(name)
        return kind.__getattribute__(self, name)

    neuron.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__getattribute__": get_attribute})


def attributes(neuron: nn.Module) -> dict[str, Any]:
    """The values that a neuron holds by name, its buffers and the memories of spikingjelly included.

    A tensor comes with its version, which counts the changes in place.
    """
    own = {name: value for name, value in vars(neuron).items() if name not in _MODULE_ATTRIBUTES}
    memories = own.pop("_memories", {})
    named = {**own, **neuron._buffers, **memories}
    return {name: (value, value._version) if isinstance(value, Tensor) else value for name, value in named.items()}


def held_tensors(neuron: nn.Module) -> dict[str, Tensor]:
    """The tensors that a neuron and the layers inside it hold, parameters and buffers included, by name."""
    held: dict[str, Tensor] = {}
    for path, layer in neuron.named_modules():
        places = (vars(layer), layer._parameters, layer._buffers, vars(layer).get("_memories", {}))
        for place in places:
            held |= _tensors(place, f"{path}." if path else "")
    return held


def _tensors(values: Mapping[Any, Any], prefix: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, tuple | list):
            found |= _tensors(dict(enumerate(value)), f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            found[f"{prefix}{name}"] = value
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> frozenset[str]:
    """The names that are new in `after`, or whose value is another one."""
    return frozenset(name for name, value in after.items() if name not in before or not _same(before[name], value))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a is b
