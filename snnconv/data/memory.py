"""Samples in memory, and synthetic ones for when no data were given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snnconv.data.samples import Block, Chunk, Wanted, every, sliced
from snnconv.ir.program import TimeContract

SYNTHETIC_SAMPLES = 16


@dataclass(frozen=True)
class Data:
    """Samples `x` `[N, C, H, W]` or `[N, T, C, H, W]`, float32, labels `y` `[N]` or None, and `origin`, where they come from."""

    x: Tensor
    y: Tensor | None
    origin: str

    @property
    def length(self) -> int:
        """N."""
        return len(self.x)

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        """The wanted chunks; they share memory with `x` and `y`."""
        return sliced(self.length, self._fetch, size, wanted)

    def _fetch(self, start: int, stop: int) -> Block:
        return Block(self.x[start:stop].contiguous(), None if self.y is None else self.y[start:stop])


def synthetic(contract: TimeContract, seed: int = 0, samples: int = SYNTHETIC_SAMPLES) -> Data:
    """Uniform noise in [0, 1) for static input; for frames, binary events with a probability of 10 %."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(contract.batch_shape(samples), generator=generator)
    if contract.event:
        x = (x < 0.1).float()
    return Data(x, None, f"synthetic noise, seed {seed}: no real data was given")
