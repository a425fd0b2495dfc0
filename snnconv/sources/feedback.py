"""What a layer of the running network feeds back into its own current: seen where its own forward computes it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from snnconv.capture import Feedback


class FedBack:
    """What `layer` adds to the current of a step, computed from the spikes of the step before; nothing if `feedback` is None.

    It is what the operator gives while the layer runs, whether the layer kept the spikes itself or was handed them. The hooks on
    both are removed when `hooks` closes.
    """

    def __init__(self, layer: nn.Module, feedback: Feedback | None, hooks: ExitStack) -> None:
        self._layer, self._feedback = layer, feedback
        self._added: Tensor | None = None
        if feedback is not None:
            hooks.callback(layer.register_forward_pre_hook(self._forget).remove)
            hooks.callback(layer.get_submodule(feedback.operator).register_forward_hook(self._note).remove)

    def onto(self, current: Tensor) -> Tensor:
        """What arrived at the neuron in the call that has just ended, for the `current` `[B, ...]` that its layer was given."""
        return current if self._added is None else current + self._added

    def keep(self, spikes: Tensor) -> None:
        """Let the layer feed back `spikes` `[B, ...]` at the next step, unless the network hands it others."""
        if self._feedback is not None:
            setattr(self._layer, self._feedback.kept, spikes)

    def _forget(self, layer: nn.Module, inputs: Any) -> None:
        self._added = None

    def _note(self, operator: nn.Module, inputs: Any, output: Tensor) -> None:
        self._added = output
