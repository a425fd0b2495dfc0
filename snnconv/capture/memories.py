"""Memories: tensors that a network keeps from step to step, in attributes of its layers or in variables of its loop over time.

A spike of the step before that is fed back, a synapse that filters, the hidden state of a gated unit, the potential of a neuron
that is written out in a forward: whatever tensor `[B, ...]` one step leaves where the next one finds it, alone or in lists,
tuples and dicts. While a step is traced, each is an input of the graph, put where the network finds it, and an output, taken from
where the network leaves it: before and after a call that is one step, or at the head of the loop in a call that makes all steps.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnconv.capture.loops import LoopRun, watching_loops
from snnconv.capture.nested import Keys, put_into, tensors_in, unshared, value_at
from snnconv.capture.probing_batch import probing_batch
from snnconv.capture.slots import FED_BACK, Call, Slot
from snnconv.ir.neuron import Shape
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.user_code import UserCodeError, running_user_code

_NO_MEMORIES = frozenset(vars(nn.Module())) | {"_memories"}
Several = Callable[[nn.Module, list[Tensor]], Any]
"""A run of a network that loops over time itself, on a frame `[B, ...]` for each of its steps."""
Start = Tensor | float | Literal["held"] | None
"""From what a memory `[B, *shape]` starts: a constant `[*shape]`, a number, what the network holds there before, or 0 if None."""
HELD: Literal["held"] = "held"


@dataclass(frozen=True)
class Memory:
    """A tensor `[B, *shape]` that a network keeps.

    Attributes:
        path: the layer that keeps it, or whose forward has the variable.
        attribute: the attribute, or the variable as `function.variable`.
        inside: the keys to it in the lists, tuples and dicts there.
        shape: that of the tensor, without the batch.
        dtype: its type.
        loop: the loop at whose head it is kept; None if between calls.
        like: what is there after a step.
        start: from what it starts.
    """

    path: str
    attribute: str
    inside: Keys
    shape: Shape
    dtype: torch.dtype = torch.float32
    loop: LoopRun | None = None
    like: Any = field(default=None, compare=False, repr=False)
    start: Start = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """By what the states of a program and of an artifact know it."""
        keys = [re.sub(r"\W", "_", str(key)) for key in self.inside]
        return ".".join(part for part in (self.path, self.attribute, *keys) if part)

    @property
    def variable(self) -> str:
        """The name of the variable that holds it; empty if an attribute does."""
        return self.attribute.rpartition(".")[2] if "." in self.attribute else ""


class _Key(NamedTuple):
    """Where a tensor is held: see `Memory`."""

    path: str
    attribute: str
    inside: Keys


class _Seen(NamedTuple):
    """A tensor, how often it had been changed in place, and all that its attribute or variable held."""

    tensor: Tensor
    version: int
    whole: Any


_Snapshot = dict[_Key, _Seen]


def memories_of(net: nn.Module, neurons: Collection[str], contract: TimeContract, call: Call) -> list[Memory]:
    """The memories of a network that has forgotten everything, outside of its `neurons`: what its second step sets anew.

    None if it does not run: the runs that follow say what is wrong with it.
    """
    probe, noise = copy.deepcopy(net), torch.Generator().manual_seed(0)
    batch = probing_batch(net, contract)
    seen: list[_Snapshot] = []
    try:
        with torch.no_grad(), running_user_code("the network", "two steps of its forward"):
            for t in range(2):
                with EntryAt(t):
                    call(probe, torch.rand(batch, *contract.input_shape, generator=noise))
                seen.append(dict(_held(probe, neurons)))
    except (UserCodeError, IndexError):
        return []
    before, after = seen
    return list(_changed(before, after, batch))


def memories_in_loops(net: nn.Module, neurons: Collection[str], contract: TimeContract, several: Several) -> list[Memory]:
    """The memories of a network that loops over time itself: what its second iteration sets anew, and is there in a run of one.

    None if it does not run: the runs that follow say what is wrong with it.
    """
    batch = probing_batch(net, contract)
    try:
        one, two = (_looked_at(net, neurons, contract, several, batch, steps) for steps in (1, 2))
    except UserCodeError:
        return []
    found: dict[_Key, Memory] = {}
    for loop, made in two.made.items():
        if made == 2 and one.made.get(loop) == 1:
            alone = one.snapshots[loop, 1]
            for memory in _changed(two.snapshots[loop, 1], two.snapshots[loop, 2], batch, loop):
                key = _Key(memory.path, memory.attribute, memory.inside)
                if key not in alone or alone[key].tensor.shape[1:] != memory.shape:
                    continue
                if key in found and memory.variable:  # the same function has made its loop before
                    function = memory.attribute.rpartition(".")[0]
                    memory = replace(memory, attribute=f"{function}.{loop.turn}.{memory.variable}")
                found.setdefault(_Key(memory.path, memory.attribute, memory.inside), memory)
    return list(found.values())


def memories_of_dendrites(slots: Collection[Slot]) -> list[Memory]:
    """What the dendrites of neurons keep, and the spikes that they are given, once the `slots` know their shapes."""
    return [
        Memory(slot.path, name, (), slot.shapes[0])
        for slot in slots
        if slot.interface.dendrite is not None
        for name in (*slot.interface.dendrite.keeps, FED_BACK)
    ]


@dataclass
class _Looked:
    """What was seen of the loops of one run: the iterations that each made, and what there was to be kept after each of them."""

    made: dict[LoopRun, int] = field(default_factory=dict)
    snapshots: dict[tuple[LoopRun, int], _Snapshot] = field(default_factory=dict)


def _looked_at(
    net: nn.Module, neurons: Collection[str], contract: TimeContract, several: Several, batch: int, steps: int
) -> _Looked:
    """A run of a copy of `net` for so many steps."""
    probe, noise, looked = copy.deepcopy(net), torch.Generator().manual_seed(0), _Looked()

    def arrived(loop: LoopRun, iteration: int, variables: dict[str, Any]) -> None:
        looked.made[loop] = iteration
        if 0 < iteration <= steps:
            looked.snapshots[loop, iteration] = dict([*_held_by_variables(probe, loop, variables), *_held(probe, neurons)])

    frames = [torch.rand(batch, *contract.input_shape, generator=noise) for _ in range(steps)]
    with torch.no_grad(), EntryAt(0), running_user_code("the network", "its forward"), watching_loops(arrived):
        several(probe, frames)
    return looked


def _changed(before: _Snapshot, after: _Snapshot, batch: int, loop: LoopRun | None = None) -> Iterator[Memory]:
    """The tensors that hold samples, and are others than they were before, or were changed in place."""
    for key, (tensor, version, whole) in after.items():
        earlier = before.get(key)
        anew = earlier is not None and (earlier.tensor is not tensor or earlier.version != version)
        if anew and not tensor.is_complex() and tensor.dim() > 0 and len(tensor) == batch:
            yield Memory(*key, tuple(tensor.shape[1:]), tensor.dtype, loop, whole)


def _held(net: nn.Module, neurons: Collection[str]) -> Iterator[tuple[_Key, _Seen]]:
    """The tensors that the layers hold besides their parameters, those in `neurons` left out."""
    for path, layer in net.named_modules():
        if any(f"{path}.".startswith(f"{neuron}.") for neuron in neurons):
            continue
        attributes, *others = _places(layer)
        yield from _seen(path, "", {name: value for name, value in attributes.items() if name not in _NO_MEMORIES})
        for place in others:
            yield from _seen(path, "", place)


def _held_by_variables(net: nn.Module, loop: LoopRun, variables: Mapping[str, Any]) -> Iterator[tuple[_Key, _Seen]]:
    """The tensors in the local variables of a loop; the variable `self` tells the layer whose forward has it."""
    owner = variables.get("self")
    path = next((path for path, layer in net.named_modules() if layer is owner), "")
    function = loop.function.rpartition(".")[2].strip("<>")
    yield from _seen(path, f"{function}.", variables)


def _seen(path: str, prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[_Key, _Seen]]:
    for name, value in values.items():
        for inside, tensor in tensors_in(value):
            yield _Key(path, prefix + name, inside), _Seen(tensor, tensor._version, value)


def _places(layer: nn.Module) -> list[dict[str, Any]]:
    """Where a layer holds values by name: its attributes, its buffers, and what spikingjelly calls memories."""
    memories = vars(layer).get("_memories", {})
    return [vars(layer), layer._buffers, memories if isinstance(memories, dict) else {}]


def held_by(net: nn.Module, memory: Memory, variables: dict[str, Any]) -> dict[str, Any]:
    """Where a memory is held by its name, at the first step too; `variables` are those of its loop."""
    if memory.variable:
        return variables
    layer = net.get_submodule(memory.path)
    return next((place for place in _places(layer)[1:] if memory.attribute in place), vars(layer))


@contextmanager
def recalling(net: nn.Module, memories: Collection[Memory], values: Collection[Tensor]) -> Iterator[list[Tensor]]:
    """Put `values` `[B, ...]` where `net` finds its memories, and at the first step their starts; at its end the list holds what
    it has left, as floats.

    A layer that is made to forget before it is called, by the forward of its network, finds them all the same: in the run of
    which this is one step, that happens once. The network holds what it held before afterwards.
    """
    left: list[Tensor] = []
    recall = _Recall(net, dict(zip(memories, values, strict=True)))
    try:
        with ExitStack() as stack:
            if recall.loops:
                stack.enter_context(watching_loops(recall.at_loop))
            recall.put(None, {})
            stack.callback(recall.unhook)
            yield left
        recall.take(None, {})
        left += [recall.left(memory) for memory in memories]
    finally:
        recall.undo()


class _Recall:
    """The memories of one step of a network, on their way in and out."""

    def __init__(self, net: nn.Module, values: dict[Memory, Tensor]) -> None:
        self._net, self._values = net, values
        self._left: dict[Memory, Tensor] = {}
        self._before = [(place, memory.attribute, place.get(memory.attribute)) for memory, place in self._in_layers()]
        self._hooks: list[Any] = []
        self.loops = {memory.loop for memory in values} - {None}

    def at_loop(self, loop: LoopRun, iteration: int, variables: dict[str, Any]) -> None:
        """Put the memories of a loop when it begins, and take them when it has made one iteration."""
        if loop in self.loops and iteration == 0:
            self.put(loop, variables)
        elif loop in self.loops and iteration == 1:
            self.take(loop, variables)

    def put(self, loop: LoopRun | None, variables: dict[str, Any]) -> None:
        """Put the memories of `loop`, or of the call, where they are found."""
        for (name, path), parts in self._by_holder(loop).items():
            place = held_by(self._net, next(iter(parts)), variables)
            given = {memory.inside: self._given(memory, value_at(place.get(name), memory.inside)) for memory in parts}
            place[name] = put_into(unshared(place.get(name)) if loop is None else place.get(name), next(iter(parts)).like, given)
            if loop is None and path:
                layer = self._net.get_submodule(path)
                self._hooks.append(layer.register_forward_pre_hook(_Reminder(place, name)))

    def take(self, loop: LoopRun | None, variables: dict[str, Any]) -> None:
        """Note what the step has left of the memories of `loop`, or of the call."""
        for memory in self._values:
            if memory.loop == loop:
                place = held_by(self._net, memory, variables)
                self._left[memory] = value_at(place.get(memory.variable or memory.attribute), memory.inside)

    def left(self, memory: Memory) -> Tensor:
        """What the step has left of a memory; what it found if that is no tensor, as a state that a neuron returns is none."""
        value = self._left.get(memory)
        if not isinstance(value, Tensor):
            return self._values[memory]
        return value if value.is_floating_point() else value.to(self._values[memory].dtype)

    def unhook(self) -> None:
        """Let the layers forget again."""
        for hook in self._hooks:
            hook.remove()

    def undo(self) -> None:
        """Let the layers hold what they held before."""
        for place, attribute, value in self._before:
            place[attribute] = value

    def _given(self, memory: Memory, held: Any) -> Tensor:
        """What the network finds in a memory where it `held` something."""
        value = self._values[memory]
        start = held if memory.start == HELD else memory.start
        if start is not None:
            first = start if isinstance(start, Tensor) else torch.full((), start, dtype=value.dtype)
            value = torch.ops.snnconv.starting_from(value, first.to(value.dtype))
        return value if memory.dtype.is_floating_point else value.to(memory.dtype)

    def _by_holder(self, loop: LoopRun | None) -> dict[tuple[str, str], list[Memory]]:
        holders: dict[tuple[str, str], list[Memory]] = {}
        for memory in self._values:
            if memory.loop == loop:
                holders.setdefault((memory.variable or memory.attribute, memory.path), []).append(memory)
        return holders

    def _in_layers(self) -> list[tuple[Memory, dict[str, Any]]]:
        return [(memory, held_by(self._net, memory, {})) for memory in self._values if not memory.variable]


class _Reminder:
    """Puts what `place` holds under a name there again when the layer is first called, if no tensors are there any more."""

    def __init__(self, place: dict[str, Any], name: str) -> None:
        self._place, self._name, self._value = place, name, place[name]
        self._called = False

    def __call__(self, layer: nn.Module, inputs: Any) -> None:
        if not self._called and not any(tensors_in(self._place.get(self._name))):
            self._place[self._name] = self._value
        self._called = True
