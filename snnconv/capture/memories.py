"""Memories: tensors that a layer of a network, or the network itself, keeps in an attribute from step to step.

A spike of the step before that is fed back, a synapse that filters, the hidden state of a gated unit: whatever tensor `[B, ...]`
one step leaves where the next one finds it. While a step is traced, each is an input of the graph, put where the layer finds it,
and an output, taken from where the layer leaves it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture.slots import FED_BACK, Call, Slot
from snnconv.errors import Refused
from snnconv.ir.neuron import Shape
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.user_code import UserCodeError, running_user_code

_BATCH = 3
_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class Memory:
    """A tensor `[B, *shape]` that the layer at `path` keeps: in attribute `attribute`, or in place `index` of a tuple there."""

    path: str
    attribute: str
    index: int | None
    shape: Shape

    @property
    def name(self) -> str:
        """By what the states of a program and of an artifact know it."""
        return ".".join(str(part) for part in (self.path, self.attribute, self.index) if part not in ("", None))


def memories_of(net: nn.Module, neurons: Collection[str], contract: TimeContract, call: Call) -> list[Memory]:
    """The memories of a network that has forgotten everything, outside of its `neurons`: what its second step sets anew.

    None if it does not run: the runs that follow say what is wrong with it.
    """
    probe, noise = copy.deepcopy(net), torch.Generator().manual_seed(0)
    seen: list[dict[tuple[str, str], list[tuple[Tensor, int]]]] = []
    tuples: set[tuple[str, str]] = set()
    try:
        with torch.no_grad(), running_user_code("the network", "two steps of its forward"):
            for t in range(2):
                with EntryAt(t):
                    call(probe, torch.rand(_BATCH, *contract.input_shape, generator=noise))
                held = list(_held(probe, neurons))
                seen.append({key: [(tensor, tensor._version) for tensor in _tensors(value)] for key, value in held})
                tuples.update(key for key, value in held if isinstance(value, tuple | list))
    except (UserCodeError, IndexError):
        return []
    before, after = seen
    return [
        Memory(*key, index if key in tuples else None, tuple(tensor.shape[1:]))
        for key, values in after.items()
        for index, (tensor, version) in enumerate(values)
        if _is_memory(tensor, version, before.get(key, [])[index : index + 1])
    ]


def memories_of_dendrites(slots: Collection[Slot]) -> list[Memory]:
    """What the dendrites of neurons keep, and the spikes that they are given, once the `slots` know their shapes."""
    return [
        Memory(slot.path, name, None, slot.shapes[0])
        for slot in slots
        if slot.interface.dendrite is not None
        for name in (*slot.interface.dendrite.keeps, FED_BACK)
    ]


def ensure_zero_start(net: nn.Module, memories: Collection[Memory], contract: TimeContract, call: Call) -> None:
    """Raise `Refused` unless the first step of a network that has forgotten everything is that on memories of 0."""
    x = torch.rand(_BATCH, *contract.input_shape, generator=torch.Generator().manual_seed(0))
    fresh, zero = copy.deepcopy(net), copy.deepcopy(net)
    with torch.no_grad(), EntryAt(0), running_user_code("the network", "one step of its forward"):
        expected = call(fresh, x)
        with recalling(zero, memories, [torch.zeros(_BATCH, *memory.shape) for memory in memories]):
            found = call(zero, x)
    if found.shape != expected.shape or not torch.allclose(found, expected, 1e-5, 1e-6, equal_nan=True):
        kept = ", ".join(memory.name for memory in memories)
        raise Refused(
            f"the network computes its first step otherwise than from zeros in what it keeps ({kept})",
            "let it start from zeros, and compute the first step as every other one",
        )


def _held(net: nn.Module, neurons: Collection[str]) -> Iterator[tuple[tuple[str, str], Any]]:
    """The tensors and tuples of tensors that the layers hold besides their parameters, those in `neurons` left out."""
    for path, layer in net.named_modules():
        if any(f"{path}.".startswith(f"{neuron}.") for neuron in neurons):
            continue
        for place in _places(layer):
            for name, value in place.items():
                if (name not in _MODULE_ATTRIBUTES or place is not vars(layer)) and _tensors(value):
                    yield (path, name), value


def _places(layer: nn.Module) -> list[dict[str, Any]]:
    """Where a layer holds values by name: its attributes, its buffers, and what spikingjelly calls memories."""
    memories = vars(layer).get("_memories", {})
    return [vars(layer), layer._buffers, memories if isinstance(memories, dict) else {}]


def _tensors(value: Any) -> list[Tensor]:
    parts = list(value) if isinstance(value, tuple | list) else [value]
    plain = all(isinstance(part, Tensor) and not isinstance(part, nn.Parameter) for part in parts)
    return parts if plain else []


def _is_memory(tensor: Tensor, version: int, before: list[tuple[Tensor, int]]) -> bool:
    """Whether a tensor holds samples, and is another one than it was before, or was changed in place."""
    anew = bool(before) and (before[0][0] is not tensor or before[0][1] != version)
    return anew and tensor.is_floating_point() and tensor.dim() > 0 and len(tensor) == _BATCH


@contextmanager
def recalling(net: nn.Module, memories: Collection[Memory], values: Collection[Tensor]) -> Iterator[list[Tensor]]:
    """Put `values` `[B, ...]` where the layers of `net` find their memories; at its end the list holds what they have left.

    A layer that is made to forget before it is called, by the forward of its network, finds them all the same: in the run of
    which this is one step, that happens once. The network holds what it held before afterwards.
    """
    left: list[Tensor] = []
    held = {}
    hooks = []
    for (path, attribute), (indexed, parts) in _by_place(memories, values).items():
        place = _place(net.get_submodule(path), attribute)
        held[path, attribute] = place, place.get(attribute)
        kind = type(place.get(attribute))
        place[attribute] = (list if kind is list else tuple)(parts) if indexed else parts[0]
        if path:
            hooks.append(net.get_submodule(path).register_forward_pre_hook(_Reminder(place, attribute)))
    try:
        yield left
        for memory in memories:
            value = held[memory.path, memory.attribute][0][memory.attribute]
            left.append(value if memory.index is None else value[memory.index])
    finally:
        for hook in hooks:
            hook.remove()
        for (_, attribute), (place, value) in held.items():
            place[attribute] = value


class _Reminder:
    """Puts what `place` holds under a name there again when the layer is first called, if no tensors are there any more."""

    def __init__(self, place: dict[str, Any], name: str) -> None:
        self._place, self._name, self._value = place, name, place[name]
        self._called = False

    def __call__(self, layer: nn.Module, inputs: Any) -> None:
        if not self._called and not _tensors(self._place.get(self._name)):
            self._place[self._name] = self._value
        self._called = True


def _by_place(memories: Collection[Memory], values: Collection[Tensor]) -> dict[tuple[str, str], tuple[bool, list[Tensor]]]:
    """The values that go into each attribute, and whether that holds a tuple."""
    places: dict[tuple[str, str], tuple[bool, list[Tensor]]] = {}
    for memory, value in zip(memories, values, strict=True):
        places.setdefault((memory.path, memory.attribute), (memory.index is not None, []))[1].append(value)
    return places


def _place(layer: nn.Module, attribute: str) -> dict[str, Any]:
    """Where the layer holds `attribute`, at its first step too."""
    return next((place for place in _places(layer)[1:] if attribute in place), vars(layer))
