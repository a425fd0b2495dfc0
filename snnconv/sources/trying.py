"""Trying whether a network runs, before it is known how it goes over time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import torch
from torch import nn

from snnconv import adapters
from snnconv.errors import SnnconvError
from snnconv.first_step import first_step_argument
from snnconv.ir.program import TimeContract
from snnconv.sources.calling.layouts import Layout, arrange
from snnconv.sources.calling.step_count import candidates, required_argument
from snnconv.user_code import running_user_code

BATCHES = (3, 5)
"""Sizes of batches on which a network is tried."""


def ways(module: nn.Module, contract: TimeContract) -> Iterator[tuple[Layout, int]]:
    """What one call of a network may be given: the layout, and for how many time steps."""
    return product(get_args(Layout), dict.fromkeys([contract.timesteps, *candidates(module)]))


def runs(module: nn.Module, layout: Layout, steps: int, batch: int, contract: TimeContract) -> bool:
    """Whether a copy of the module runs on such a batch."""
    probe = copy.deepcopy(module)
    given: dict[str | None, Any] = {required_argument(module): steps, first_step_argument(module): True}
    x = torch.rand(batch, *contract.input_shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad(), running_user_code("the network", "its forward"):
            adapters.reset(probe)
            probe(arrange(layout, [x] * steps), **{name: value for name, value in given.items() if name is not None})
    except SnnconvError:
        return False
    return True


def runs_at_all(module: nn.Module, contract: TimeContract) -> bool:
    """Whether a copy of the module runs in any way on one of `BATCHES`."""
    return any(runs(module, layout, steps, batch, contract) for layout, steps in ways(module, contract) for batch in BATCHES)
