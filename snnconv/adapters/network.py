"""What is asked of a whole network: its neurons, how they are called, and that it forgets its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from snnconv.adapters.loading import load
from snnconv.adapters.recognition import adapter_of
from snnconv.adapters.registration import (
    CHECKPOINT_HOOKS,
    CONSTANTS_ADDED,
    KEPT_APART,
    NETWORK_RESETS,
    Adapter,
    takes_all_steps_itself,
    taught,
)
from snnconv.capture import Interface
from snnconv.ir.neuron import Neuron


def neurons_of(module: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Neuron]:
    """The canonical neuron of every spiking layer in `module`, by its path, its constants in `dtype`.

    Raises `Refused` for a layer that no canonical neuron equals, and `BackendMissing` for an unsupported version of a framework.
    """
    load()
    return {path: known.in_dtype(layer, dtype) for path, layer, known in _spiking(module)}


def interfaces_of(module: nn.Module) -> dict[str, Interface]:
    """How `module` calls each of its spiking layers, by its path."""
    return {path: known.interface(layer) for path, layer, known in _spiking(module)}


def takes_all_steps(module: nn.Module) -> bool:
    """Whether a layer of `module` takes all time steps in one call, `[T, B, ...]`."""
    return any(takes_all_steps_itself(layer) for layer in module.modules())


def reset(module: nn.Module) -> None:
    """Forget every state in `module`: the next call is the first time step of a new sample.

    Raises `Refused` if an adapter does not say how its layer forgets.
    """
    for reset_layers in NETWORK_RESETS:
        reset_layers(module)
    for _, layer, known in _spiking(module):
        known.reset(layer)


@contextmanager
def others_left_alone() -> Iterator[None]:
    """A block in which a reset that a network calls for itself reaches no other network."""
    with ExitStack() as blocks:
        for block in KEPT_APART:
            blocks.enter_context(block())
        yield


def checkpoint_loaded(module: nn.Module, before: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Bring every layer of `module` in line with a checkpoint that was just loaded; returns notes in words.

    `before` is the state-dict that the module had before.
    """
    load()
    notes = []
    for path, layer in module.named_modules():
        own = {key.removeprefix(f"{path}."): value for key, value in before.items() if key.startswith(f"{path}.")}
        notes += [note for hook in CHECKPOINT_HOOKS for note in hook(path, layer, own)]
    return tuple(notes)


def added_later(module: nn.Module) -> frozenset[str]:
    """The keys of constants in `module` that a checkpoint of an older version of its framework lacks."""
    return frozenset(
        f"{path}.{name}" if path else name
        for path, layer in module.named_modules()
        for kind, names in CONSTANTS_ADDED.items()
        if isinstance(layer, kind)
        for name in names
    )


def _spiking(module: nn.Module) -> Iterator[tuple[str, nn.Module, Adapter]]:
    """Every spiking layer, with its path and its adapter; none inside a layer that was taught as one neuron itself."""
    whole: list[str] = []
    for path, layer in module.named_modules():
        known = adapter_of(layer)
        if known is not None and not any(path.startswith(outer) for outer in whole):
            yield path, layer, known
        if taught(layer) is not None:
            whole.append(f"{path}.")
