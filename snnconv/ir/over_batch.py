"""Constants that are repeated for every sample, as a class token or a block of zeros is before it joins a batch.

    token.expand(x.shape[0], -1, -1)   ->   snnconv::over_batch(token, x, 0)

A captured step graph holds no batch size, which changes when steps are merged into the batch; this operator reads it off the
network's input wherever the graph runs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def over_batch(constant: Tensor, x: Tensor, dim: int) -> Tensor:
    """`constant`, of size 1 in dimension `dim`, repeated there once for every sample of `x` `[B, ...]`."""
    sizes = list(constant.shape)
    sizes[dim] = x.shape[0]
    return constant.expand(sizes)


torch.library.define("snnconv::over_batch", "(Tensor constant, Tensor x, int dim) -> Tensor")


@torch.library.impl("snnconv::over_batch", "CompositeExplicitAutograd")
def _copied(constant: Tensor, x: Tensor, dim: int) -> Tensor:
    return over_batch(constant, x, dim).clone(memory_format=torch.contiguous_format)


@torch.library.register_fake("snnconv::over_batch")
def _like(constant: Tensor, x: Tensor, dim: int) -> Tensor:
    sizes = list(constant.shape)
    sizes[dim] = x.shape[0]
    return constant.new_empty(sizes)


OVER_BATCH = torch.ops.snnconv.over_batch.default
