"""What arrives at the neuron of a layer of the running network, whose own forward adds to its current or filters it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture import Feedback, Filter


class Arriving:
    """What arrives at the neuron of `layer` in a call of one step: its current, if `dendrite` is None.

    What is fed back is what the operator gives while the layer runs, whether the layer kept the spikes itself or was handed them.
    The hooks on both are removed when `hooks` closes.
    """

    def __init__(self, layer: Any, dendrite: Feedback | Filter | None, hooks: ExitStack) -> None:
        self._layer, self._dendrite = layer, dendrite
        self._added: Tensor | None = None
        if isinstance(dendrite, Feedback):
            hooks.callback(layer.register_forward_pre_hook(self._forget).remove)
            hooks.callback(layer.get_submodule(dendrite.operator).register_forward_hook(self._note).remove)

    def onto(self, current: Tensor) -> Tensor:
        """What arrived in the call that has just ended, for the `current` `[B, ...]` that the layer was given."""
        if isinstance(self._dendrite, Filter):
            arrived: Tensor = getattr(self._layer, self._dendrite.potential)
            return arrived
        return current if self._added is None else current + self._added

    def keep(self, spikes: Tensor, own: Tensor, threshold: Tensor) -> None:
        """Let the layer go on as if it had fired `spikes` `[B, ...]`, not its `own`, unless the network hands it other states.

        A potential that decides what follows is moved to the other side of the `threshold`.
        """
        if isinstance(self._dendrite, Feedback):
            setattr(self._layer, self._dendrite.kept, spikes)
        if isinstance(self._dendrite, Filter):
            u = self.onto(spikes)
            other_side = torch.nextafter(threshold, torch.where(spikes > 0, torch.inf, -torch.inf).to(u))
            setattr(self._layer, self._dendrite.potential, torch.where(spikes == own, u, other_side))

    def _forget(self, layer: nn.Module, inputs: Any) -> None:
        self._added = None

    def _note(self, operator: nn.Module, inputs: Any, output: Tensor) -> None:
        self._added = output


@dataclass
class Filtering:
    """A filter that runs beside its layer, on other currents.

    Attributes:
        filter: that.
        kept: its memories after the last step.
    """

    filter: Filter
    kept: list[Tensor] = field(default_factory=list)

    def step(self, layer: nn.Module, x: Tensor, spikes: Tensor) -> Tensor:
        """What arrives at the neuron of `layer` for the current `x` and its `spikes` of the step before, all `[B, ...]`."""
        kept = self.kept or [torch.zeros_like(x) for _ in self.filter.keeps]
        arrived, *self.kept = self.filter.current(layer, x, spikes, *kept)
        return arrived
