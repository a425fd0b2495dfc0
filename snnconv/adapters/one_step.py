"""Bringing a copy of a framework's network into the form of one step, for the capture.

A layer that takes all time steps in one call is called with a single one, `[1, B, ...]`; a layer that knows which step it is
names its constants by `snnconv::at_step`. The network's own code between them stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.adapters import registration
from snnconv.adapters.recognition import adapter_of
from snnconv.adapters.registration import overrides
from snnconv.ir.per_step import ensure_steps

Change = Callable[[nn.Module, int], None]
STEP_LAYERS: dict[type[nn.Module], Change] = {}
"""What brings a layer of a copied network into the form of one step; see `step_layer`."""


def step_layer(*kinds: type[nn.Module]) -> Callable[[Change], Change]:
    """Register the decorated function as what brings layers of the classes `kinds` into the form of one step.

    `function(layer, timesteps)` changes a layer of a copied network in place. If a constant of the layer changes from step to
    step, it calls `torch.ops.snnconv.at_step(constants)` on all of them, `[T, ...]`. Layers with an adapter, unless that is for
    one of `kinds` itself, and layers that override a method of their class in `kinds`, are left alone.
    """

    def register(change: Change) -> Change:
        STEP_LAYERS.update(dict.fromkeys(kinds, change))
        return change

    return register


def one_step(module: nn.Module, timesteps: int, per_step_lists: Collection[str] = ()) -> nn.Module:
    """A copy of `module` in the form of one step.

    `per_step_lists` are the paths of the lists of which each step takes the next entry; other lists are left alone.
    """
    copied = copy.deepcopy(module)
    for path, layer in list(copied.named_modules()):
        kind = next((kind for kind in type(layer).__mro__ if kind in STEP_LAYERS), None)
        if kind is None or (isinstance(layer, nn.ModuleList) and path not in per_step_lists):
            continue
        if (kind in registration.ADAPTERS or adapter_of(layer) is None) and not overrides(type(layer), kind):
            STEP_LAYERS[kind](layer, timesteps)
    return copied


def without_time_axis(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    """Let `layer`, which is called with `[1, B, ...]`, compute `forward` on `[B, ...]`."""
    layer.forward = partial(_without_time_axis, forward)


def _without_time_axis(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return forward(x.squeeze(0)).unsqueeze(0)


def layer_of_the_step(layers: Sequence[nn.Module], *inputs: Any) -> Any:
    """What the layer of the running step gives, one of `layers`, which are alike but for their tensors."""

    def at_step(name: str) -> Tensor:
        return torch.ops.snnconv.at_step(torch.stack([layer.state_dict(keep_vars=True)[name] for layer in layers]))

    first = layers[0]
    floats = [name for name, tensor in first.state_dict(keep_vars=True).items() if tensor.is_floating_point()]
    return torch.func.functional_call(first, {name: at_step(name) for name in floats}, inputs)


@step_layer(nn.ModuleList)
def layers_of_each_step(layers: Any, timesteps: int) -> None:
    """A list of layers of which each step takes the next, such as norms (BNTT, arXiv 2010.01729)."""
    ensure_steps(f"a list of {type(next(iter(layers))).__name__}", len(layers), timesteps)
    if len({_form(layer) for layer in layers}) == 1:
        layers.__class__ = _LayerOfTheStep


def _form(layer: nn.Module) -> tuple[Any, ...]:
    """What layers that differ in their tensors alone have in common."""
    return (repr(layer), *((name, tensor.shape) for name, tensor in layer.state_dict().items()))


class _LayerOfTheStep(nn.ModuleList):
    """A list that gives the layer of the running step for every index."""

    def __getitem__(self, index: object) -> Any:
        return _TheLayer(list(self))


class _TheLayer(nn.Module):
    """The layer of the running step, one of `layers`."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, *inputs: Any) -> Any:
        return layer_of_the_step(self.layers, *inputs)
