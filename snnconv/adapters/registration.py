"""Registering adapters of single layers, and what else a framework needs: a reset, its step modes, its checkpoints.

An adapter is found by the class of a layer, which is why this registry is a decorator and not a list of names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from snnconv.capture import Interface
from snnconv.capture.slots import Feedback, Filter, Shown, shows_nothing
from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron
from snnconv.nn import LIF
from snnconv.nn import reset as reset_own
from snnconv.user_code import FRAMEWORKS

Layer = TypeVar("Layer", bound=nn.Module)
CheckpointHook = Callable[[str, nn.Module, Mapping[str, Tensor]], list[str]]

_OWN = "_snnconv_adapter"
"""The attribute under which a layer holds an adapter of its own."""
_DECISIVE = frozenset({"__call__", "__getattr__", "__getattribute__", "__setattr__"})
"""The methods with two underscores that can change what a layer computes."""


@dataclass(frozen=True)
class Adapter:
    """What snnconv knows of the layers of one class.

    Attributes:
        neuron: the canonical neuron of a layer, its constants included.
        reset: makes a layer forget its state.
        states: how many states a call of a layer returns after its spikes.
        shows: what the attributes of a layer hold after a step.
        gives: what a layer gives in the place of its spikes, from the layer and its potential; None if it gives spikes.
        time_axis: which dimension of the current a layer loops over by itself; None if a call is one step, or if its framework
            says.
        dendrite: what a layer makes of its current before the neuron that it is integrates that; None if nothing.
    """

    neuron: Callable[[nn.Module], Neuron]
    reset: Callable[[nn.Module], None]
    states: Callable[[nn.Module], int] = lambda layer: 0
    shows: Shown = shows_nothing
    gives: Callable[[Any, Tensor], Any] | None = None
    time_axis: int | None = None
    dendrite: Feedback | Filter | None = None

    def in_dtype(self, layer: nn.Module, dtype: torch.dtype) -> Neuron:
        """The neuron with its constants in `dtype`. Raises `Refused` if no canonical neuron equals the layer."""
        return self.neuron(layer).to(dtype)

    def interface(self, layer: nn.Module) -> Interface:
        """How a network calls the layer."""
        axis = 0 if takes_all_steps_itself(layer) else self.time_axis
        return Interface(axis, self.states(layer), self.shows, self.gives, dendrite=self.dendrite)


def _state_of_lif(layer: LIF, u: Tensor, s: Tensor) -> dict[str, Tensor | None]:
    if layer.carry_normalised:
        return {}
    kept = layer.leak * u
    return {"state": kept - layer.leak * layer.threshold * s if layer.soft else kept * (1 - s) + layer.leak * layer.v_reset * s}


def reset_with_network(layer: nn.Module) -> None:
    """The reset of a layer whose framework resets the whole network at once (`network_reset`): nothing is left to do."""


ADAPTERS: dict[type[nn.Module], Adapter] = {LIF: Adapter(LIF.neuron, reset_with_network, shows=_state_of_lif)}  # type: ignore[arg-type]
"""The adapter of each class of layers."""
NETWORK_RESETS: list[Callable[[nn.Module], None]] = [reset_own]
"""What makes a whole network forget its state, one function per framework."""
MULTI_STEP: list[Callable[[nn.Module], bool]] = []
"""Whether a layer takes all time steps of a run in one call, `[T, B, ...]`, one question per framework."""
KEPT_APART: list[Callable[[], AbstractContextManager[None]]] = []
"""What keeps the other networks of a framework out of the capture of one; see `kept_apart`."""
CHECKPOINT_HOOKS: list[CheckpointHook] = []
"""What is called on each layer after a checkpoint was loaded; see `on_checkpoint_loaded`."""
CONSTANTS_ADDED: dict[type[nn.Module], tuple[str, ...]] = {}
"""Tensors of the layers of a class, and of those derived from it, that checkpoints of older versions of its framework lack."""


def adapter(
    kind: type[Layer],
    reset: Callable[[Layer], object] | None = None,
    states: Callable[[Layer], int] = lambda layer: 0,
    shows: Shown = shows_nothing,
    gives: Callable[[Any, Tensor], Any] | None = None,
    time_axis: int | None = None,
    dendrite: Feedback | Filter | None = None,
) -> Callable[[Callable[[Layer], Neuron]], Callable[[Layer], Neuron]]:
    """Register the decorated function, `layer -> Neuron`, as the adapter of layers of class `kind`.

    A class derived from `kind` has the same adapter, unless it overrides one of its methods.

    Args:
        kind: the class of the layers.
        reset: makes a layer forget its state before a new sample; by default the layer's own method `reset()`.
        states: how many states a call of the layer returns after its spikes; by default none.
        shows: `function(layer, u, s)` says what the attributes of the layer hold after a step with the potential u before firing
            and the spikes s, by their names, those that it returns first: `lambda layer, u, s: {"v": u * (1 - s)}`. By default
            nothing, and a network that reads one of them is refused.
        gives: `function(layer, u)` is what a call of the layer gives if that is a potential and not spikes.
        time_axis: which dimension of the current the layer loops over by itself: 0 `[T, B, ...]`, 1 `[B, T, ...]` or -1
            `[B, ..., T]`; None if a call is one time step.
        dendrite: what a layer that is called once a step makes of its current before the neuron that it is integrates that: it
            adds what it feeds back, or filters it; by default nothing.
    """

    def register(neuron: Callable[[Layer], Neuron]) -> Callable[[Layer], Neuron]:
        ADAPTERS[kind] = Adapter(neuron, reset or _own_reset, states, shows, gives, time_axis, dendrite)  # type: ignore[arg-type]
        return neuron

    return register


def network_reset(reset: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    """Register the decorated function as what makes every layer of a framework in a network forget its state."""
    NETWORK_RESETS.append(reset)
    return reset


def multi_step(question: Callable[[nn.Module], bool]) -> Callable[[nn.Module], bool]:
    """Register the decorated function, `layer -> bool`, which says whether a layer takes all time steps in one call."""
    MULTI_STEP.append(question)
    return question


def kept_apart(block: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Register the decorated function, which gives a block in which a framework reaches no network but the one that is called."""
    KEPT_APART.append(block)
    return block


def on_checkpoint_loaded(hook: CheckpointHook) -> CheckpointHook:
    """Register the decorated function to be called on each layer after a checkpoint was loaded into the network.

    `hook(path, layer, before)` gets the tensors that the layer held before, by their names. It brings the layer in line with the
    checkpoint, which overrides what the factory had set, and returns a note in words for each difference.
    """
    CHECKPOINT_HOOKS.append(hook)
    return hook


def takes_all_steps_itself(layer: nn.Module) -> bool:
    """Whether a layer of a framework takes all time steps in one call, `[T, B, ...]`."""
    return any(question(layer) for question in MULTI_STEP)


def teach(layer: nn.Module, known: Adapter) -> None:
    """Give one layer an adapter of its own, which goes with it into every copy."""
    vars(layer)[_OWN] = known


def unteach(layer: nn.Module) -> None:
    """Take the adapter of its own from a layer, if it has one."""
    vars(layer).pop(_OWN, None)


def taught(layer: nn.Module) -> Adapter | None:
    """The layer's own adapter, if it has one."""
    found: Adapter | None = vars(layer).get(_OWN)
    return found


def overrides(derived: type, kind: type) -> bool:
    """Whether `derived`, or a class between it and `kind`, overrides a method of `kind`.

    A property in the place of a constant does not count, because an adapter reads its value.
    """
    between = derived.__mro__[: derived.__mro__.index(kind)]
    named = {name for c in between for name in vars(c) if not name.startswith("__")} - {"extra_repr"}
    own = {name for c in between for name in vars(c) if c.__module__.partition(".")[0] not in ("torch", *FRAMEWORKS)}
    return bool(own & _DECISIVE) or any(callable(getattr(kind, name, None)) for name in named)


def is_patched(layer: nn.Module) -> bool:
    """Whether a method was replaced on this one layer: `layer.forward = ...`."""
    return any(callable(value) and callable(getattr(type(layer), name, None)) for name, value in vars(layer).items())


def _own_reset(layer: nn.Module) -> None:
    method = getattr(layer, "reset", None)
    if not callable(method):
        raise Refused(
            f"{type(layer).__name__} has no method reset()", "tell its adapter how to forget: @adapter(..., reset=function)"
        )
    method()
