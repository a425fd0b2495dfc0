"""What a network is shown at each time step, and how the outputs of all steps become one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

READOUTS = ("mean", "sum", "last", "none")


def frames(x: Tensor, timesteps: int, event: bool) -> Iterator[Tensor]:
    """The input of each time step: `x` `[B, C, H, W]` shown at each of them, or the frames of `x` `[B, T, C, H, W]`."""
    if event and x.shape[1] != timesteps:
        raise ValueError(f"{x.shape[1]} frames for {timesteps} time steps")
    for t in range(timesteps):
        yield x[:, t] if event else x


def read_out(outputs: list[Tensor], readout: str) -> Tensor:
    """Reduce the outputs `[B, K]` of all steps; `none` stacks them to `[B, T, K]`."""
    stacked = torch.stack(outputs, dim=1)
    if readout == "mean":
        return stacked.mean(1)
    if readout == "sum":
        return stacked.sum(1)
    if readout == "last":
        return stacked[:, -1]
    if readout == "none":
        return stacked
    raise ValueError(f"readout is {readout!r}; it is one of {', '.join(READOUTS)}")
