"""Ways in which a network may be called, tried to see how it calls its layers before it is known how it goes over time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.ir.program import TimeContract

Call = Callable[[nn.Module], Any]
"""One call of a network, or several, from a fresh state."""
_BATCHES = (3, 5, 7, 11)


def ways(module: nn.Module, contract: TimeContract) -> Iterator[Call]:
    """Calls of `module`: one frame `[B, ...]` (also what a network that repeats an image takes), then all frames at once, with
    the time steps as dimension 0, 1 and last. What else its forward must be handed is a state that is 0."""
    batch = next((size for size in _BATCHES if size not in (contract.timesteps, *contract.input_shape)), 2)
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(contract.timesteps, batch, *contract.input_shape, generator=generator)
    others = _further_arguments(module)
    for x in (frames[0], frames, frames.transpose(0, 1).contiguous(), frames.movedim(0, -1).contiguous()):
        yield partial(_call, x=x, others=others)


def _call(net: nn.Module, x: Tensor, others: int) -> Any:
    return net(x, *[x.new_zeros(()) for _ in range(others)])


def _further_arguments(module: nn.Module) -> int:
    """How many arguments the forward must be given besides the input."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    return len([p for p in parameters[1:] if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])
