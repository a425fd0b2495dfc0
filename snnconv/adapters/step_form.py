"""Bringing a copy of a framework's network into the form of one step, for the capture.

Layers that take all time steps in one call are called with a single one, `[1, B, ...]`; layers that know which step it is name
their constants by `snnconv::at_step`. The network's own code between them runs as it stands.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.adapters import adapter_of, departs

Change = Callable[[nn.Module, int], None]
STEP_LAYERS: dict[type[nn.Module], Change] = {}
"""What brings a layer of a copied network into the form of one step; see `step_layer`."""
MULTI_STEP: list[Callable[[nn.Module], bool]] = []
"""Which layers take the time steps of a run in one call, `[T, B, ...]`, one question per framework."""


def multi_step(asks: Callable[[nn.Module], bool]) -> Callable[[nn.Module], bool]:
    """Register a function that says of a layer whether it takes all time steps in one call."""
    MULTI_STEP.append(asks)
    return asks


def step_layer(*kinds: type[nn.Module]) -> Callable[[Change], Change]:
    """Register the function under it as what brings layers of these classes into the form of one step.

    `function(layer, timesteps)` changes a layer of a copied network in place. Where a constant of the layer changes from step to
    step, it calls `torch.ops.snnconv.at_step(constants)` on all of them, `[T, ...]`.
    """

    def register(change: Change) -> Change:
        STEP_LAYERS.update(dict.fromkeys(kinds, change))
        return change

    return register


def takes_all_steps(module: nn.Module) -> bool:
    """Whether a layer of `module` takes all time steps in one call."""
    return any(_is_multi_step(layer) for layer in module.modules())


def one_step(module: nn.Module, timesteps: int, in_turn: Collection[str] = ()) -> tuple[nn.Module, frozenset[str]]:
    """A copy of `module` in the form of one step, and the paths of its neurons that are called with `[1, B, ...]`.

    `in_turn` are the paths of the lists of which each step takes the next entry; other lists are left alone.
    """
    copied = copy.deepcopy(module)
    has_time_axis = [path for path, layer in copied.named_modules() if adapter_of(layer) is not None and _is_multi_step(layer)]
    for path, layer in list(copied.named_modules()):
        kind = next((kind for kind in type(layer).__mro__ if kind in STEP_LAYERS), None)
        at_hand = path in in_turn or not isinstance(layer, nn.ModuleList)
        if kind is not None and at_hand and adapter_of(layer) is None and not departs(type(layer), kind):
            STEP_LAYERS[kind](layer, timesteps)
    return copied, frozenset(has_time_axis)


def in_frames(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    """Let `layer`, called with `[1, B, ...]`, compute `forward` on `[B, ...]`."""
    layer.forward = partial(_in_frames, forward)


def _in_frames(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return forward(x.squeeze(0)).unsqueeze(0)


def batch_norm_through_time(norms: nn.ModuleList, x: Tensor) -> Tensor:
    """One batch norm per time step, without a bias, on a step `x` `[B, C, ...]` (BNTT, arXiv 2010.01729)."""
    steps: list[Any] = list(norms)

    def held(name: str) -> Tensor:
        return torch.ops.snnconv.at_step(torch.stack([getattr(norm, name) for norm in steps]))

    weight = None if steps[0].weight is None else held("weight")
    return nn.functional.batch_norm(x, held("running_mean"), held("running_var"), weight, None, False, 0.0, steps[0].eps)


def _is_multi_step(layer: nn.Module) -> bool:
    return any(asks(layer) for asks in MULTI_STEP)
