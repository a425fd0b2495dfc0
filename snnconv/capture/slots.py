"""What a neuron is while its network is captured: itself, but for a forward that leaves a `snnconv::neuron` in the graph.

It keeps its class, its attributes and the hooks on it, so that whatever the network asks of it is answered as ever. But its state
lives in the graph, and what the module itself holds of it is out of date: reading that is refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.user_code import is_library, place_of

_TORCH_S_OWN = frozenset(vars(nn.Module()))


@dataclass(eq=False)
class Slot:
    """The place of the neuron at `path`.

    `has_time_axis` says that it is called with `[1, B, ...]`, `returned` how many of its states it returns besides its spikes,
    `hidden` which of its attributes hold its state. `carried` is that state in the graph, None in a run that looks at shapes;
    such a run notes the shapes of potentials and how many rows of them there are, and puts the slot into `order`.
    """

    path: str
    has_time_axis: bool
    returned: int
    hidden: frozenset[str]
    carried: Tensor | None = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    rows: int = 0
    order: list[Slot] = field(default_factory=list)

    def step(self, current: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The spikes, and the next state as often as the neuron returns one."""
        x = current.squeeze(0) if self.has_time_axis else current
        if self.carried is None:
            self.rows = len(x)
            self.shapes.append(tuple(x.shape[1:]))
            self.order.append(self)
            spikes = following = torch.zeros_like(x)
        else:
            spikes, following = torch.ops.snnconv.neuron(x, self.carried, self.path)
            self.carried = following
        spikes = spikes.unsqueeze(0) if self.has_time_axis else spikes
        return (spikes, *[following] * self.returned) if self.returned else spikes

    def ensure_unread(self, name: str) -> None:
        """Raise `Refused` if code that is no framework's own asks for a state."""
        reader = sys._getframe(2)
        if name in self.hidden and not is_library(reader.f_code.co_filename):
            where = place_of(reader.f_code.co_filename, reader.f_lineno)
            raise Refused(
                f"the network computes with the state of neuron {self.path}: it reads its {name} in {where}",
                "read the spikes out instead; a potential is no output of a spiking network on a device",
            )


def stand_in(neuron: nn.Module, slot: Slot) -> None:
    """Let `neuron`, in place, do what `slot` says."""
    kind = type(neuron)

    def forward(self: nn.Module, current: Tensor, *handed: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        return slot.step(current)

    def asked(self: nn.Module, name: str) -> Any:
        slot.ensure_unread(name)
        return kind.__getattribute__(self, name)

    neuron.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__getattribute__": asked})


def attributes(neuron: nn.Module) -> dict[str, Any]:
    """What a neuron holds by its own names, buffers and the memories of spikingjelly included; tensors with their changes."""
    held = {name: value for name, value in vars(neuron).items() if name not in _TORCH_S_OWN}
    memories = held.pop("_memories", {})
    named = {**held, **neuron._buffers, **memories}
    return {name: (value, value._version) if isinstance(value, Tensor) else value for name, value in named.items()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> frozenset[str]:
    """The names that hold something else."""
    return frozenset(name for name, value in after.items() if name not in before or not _same(before[name], value))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a is b
