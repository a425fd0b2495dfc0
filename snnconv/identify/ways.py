"""Ways in which a network may be called, tried to see how it calls its layers before it is known how it goes over time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture import probing_batch
from snnconv.first_step import first_step_argument
from snnconv.ir.program import TimeContract


@dataclass(frozen=True)
class Call:
    """A call of a network from a fresh state, or several one after the other.

    Attributes:
        inputs: the input of each call.
        batch: how many samples they are of.
        others: how many states that are 0 the forward must be handed besides.
        first: the argument that tells the forward whether the call is the first; empty if there is none.
    """

    inputs: tuple[Tensor, ...]
    batch: int
    others: int = 0
    first: str = ""

    def __call__(self, net: nn.Module) -> Any:
        """Make the calls; what the last one returns."""
        returned = None
        for t, x in enumerate(self.inputs):
            told = {self.first: t == 0} if self.first else {}
            returned = net(x, *[x.new_zeros(()) for _ in range(self.others)], **told)
        return returned


def ways(module: nn.Module, contract: TimeContract) -> Iterator[Call]:
    """Calls of `module`: one frame `[B, ...]` (also what a network that repeats an image takes), then all frames at once, with
    the time steps as dimension 0, 1 and last. What else its forward must be handed is a state that is 0. One that is told which
    step is the first is shown two frames before, one after the other."""
    batch = probing_batch(module, contract)
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(contract.timesteps, batch, *contract.input_shape, generator=generator)
    first = first_step_argument(module)
    if first is not None:
        yield Call((frames[0], frames[-1]), batch, first=first)
    others = _further_arguments(module)
    for x in (frames[0], frames, frames.transpose(0, 1).contiguous(), frames.movedim(0, -1).contiguous()):
        yield Call((x,), batch, others)


def _further_arguments(module: nn.Module) -> int:
    """How many arguments the forward must be given besides the input."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    return len([p for p in parameters[1:] if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])
