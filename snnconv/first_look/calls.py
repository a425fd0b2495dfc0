"""Calls of a network of which it is not known yet how it goes over time: each way in which it may be called, to be tried."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, get_args

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import probing_batch
from snnconv.errors import SnnconvError
from snnconv.first_look.arguments import first_step_argument, required_arguments, step_count_argument
from snnconv.first_look.layouts import Layout, arrange
from snnconv.first_look.step_count import candidates
from snnconv.ir.program import TimeContract
from snnconv.user_code import running_user_code


@dataclass(frozen=True)
class Call:
    """A call of a network from a fresh state, or several one after the other.

    Attributes:
        layout: what it is given; one frame is given like an image, which a network may show itself T times.
        steps: how many time steps it may go through.
        batch: how many samples it is given.
        inputs: the input of each call.
        arguments: what its forward must be given besides.
        first: the argument that tells the forward whether the call is the first; empty if there is none.
    """

    layout: Layout
    steps: int
    batch: int
    inputs: tuple[Tensor, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    first: str = ""

    def __call__(self, net: nn.Module) -> Any:
        """Make the calls; what the last one returns. Raises `UserCodeError` if the network does not run so."""
        returned = None
        with torch.no_grad(), running_user_code("the network", "its forward"):
            adapters.reset(net)
            for t, x in enumerate(self.inputs):
                told = {self.first: t == 0} if self.first else {}
                returned = net(x.clone(), **self.arguments, **told)
        return returned

    def runs(self, module: nn.Module) -> bool:
        """Whether a copy of `module` runs so."""
        try:
            self(copy.deepcopy(module))
        except SnnconvError:
            return False
        return True


def calls(module: nn.Module, contract: TimeContract, batch: int = 0, seed: int = 0) -> Iterator[Call]:
    """Calls of `module` on noise: on one frame, then on all frames at once, for the T of the contract and for each number in its
    code that may be its T.

    What else its forward must be given is 0, which may be a state as well as the number of a step. One that is told which step is
    the first is shown two frames before, one after the other.

    Args:
        batch: the number of samples; by default one that is no other size in the network.
        seed: of the noise.
    """
    batch = batch or probing_batch(module, contract)
    noise = torch.Generator().manual_seed(seed)
    others = dict.fromkeys(required_arguments(module), torch.zeros((), dtype=torch.int64))
    first, count = first_step_argument(module), step_count_argument(module)
    if first is not None:
        others.pop(first, None)
        frames = tuple(torch.rand(2, batch, *contract.input_shape, generator=noise))
        yield Call("image", contract.timesteps, batch, frames, others, first)
    for steps, layout in product(dict.fromkeys([contract.timesteps, *candidates(module)]), get_args(Layout)):
        frames = tuple(torch.rand(steps, batch, *contract.input_shape, generator=noise))
        told: dict[str, Any] = {} if count is None else {count: steps}
        yield Call(layout, steps, batch, (arrange(layout, frames),), {**others, **told})
