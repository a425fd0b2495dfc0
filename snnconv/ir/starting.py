"""Memories that do not start from 0: a threshold that adapts, a learned first potential.

In a captured step graph such a memory is read through one operator, `snnconv::starting_from`, which gives a constant at the first
step and the memory itself at every other one. So all states of a program are 0 before the first step. It has no kernel on
purpose: whoever runs a graph over time knows the step.
"""

from __future__ import annotations

import torch
from torch import Tensor

torch.library.define("snnconv::starting_from", "(Tensor memory, Tensor first) -> Tensor")


@torch.library.register_fake("snnconv::starting_from")
def _like(memory: Tensor, first: Tensor) -> Tensor:
    return torch.empty_like(memory)


STARTING_FROM = torch.ops.snnconv.starting_from.default


def starting_from(memory: Tensor, first: Tensor, t: int) -> Tensor:
    """What step `t`, counted from 0, finds in a memory `[B, ...]` that starts from `first`, which broadcasts against `[...]`."""
    return memory if t else first.expand_as(memory).clone()
