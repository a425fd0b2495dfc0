"""Lists of layers of which each time step takes the next entry, as networks with BNTT have them.

Nothing in such a list says what it is for: whether it is used this way is seen from a run of the network.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.sources.calling import Forward
from snnconv.user_code import UserCodeError, running_user_code

_Calls = list[tuple[int, int]]
"""The calls of the entries of a list, in order: which entry, and how many samples it was given."""


def per_step_lists(module: nn.Module, forward: Forward, contract: TimeContract) -> frozenset[str]:
    """The paths of the lists whose entry t is called at step t, and at no other."""
    probe = copy.deepcopy(module)
    lists = {path: layers for path, layers in probe.named_modules() if isinstance(layers, nn.ModuleList) and len(layers) > 1}
    if not lists or contract.timesteps == 1:
        return frozenset()
    calls: dict[str, _Calls] = {path: [] for path in lists}
    for path, layers in lists.items():
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(_note, calls[path], number))

    samples = contract.timesteps + 1  # Told apart from the time steps, and from the samples of all steps together.

    def called(timesteps: int) -> set[str]:
        """The lists that are called once per step in a run of so many steps."""
        for seen in calls.values():
            seen.clear()
        shorter = replace(contract, timesteps=timesteps)
        with torch.no_grad(), EntryAt(0), suppress(UserCodeError), running_user_code("the network", "its forward"):
            forward.run(probe, torch.rand(shorter.batch_shape(samples)), shorter)
        steps = {path: range(min(timesteps, len(layers))) for path, layers in lists.items()}
        return {path for path, seen in calls.items() if seen == [(t, samples) for t in steps[path]]}

    found = called(contract.timesteps)
    return frozenset(found and found & called(1))


def _note(calls: _Calls, number: int, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    calls.append((number, len(inputs[0]) if inputs else 0))
