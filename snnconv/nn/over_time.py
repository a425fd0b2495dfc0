"""Running a network of one time step over time: what it is shown, what it remembers, how it is read out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from snnconv.nn.lif import LIF
from snnconv.nn.per_step import PerStep

READOUTS = ("mean", "sum", "last", "none")


def neurons(module: nn.Module) -> dict[str, LIF]:
    """Every spiking layer of `module` by its path."""
    return {name: m for name, m in module.named_modules() if isinstance(m, LIF)}


def reset(module: nn.Module) -> None:
    """Forget every membrane potential and the step counts: the next call is the first time step of a new sample."""
    for layer in module.modules():
        if isinstance(layer, LIF):
            layer.state = None
        elif isinstance(layer, PerStep):
            layer.t = 0


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


def run(module: nn.Module, x: Tensor, timesteps: int, readout: str = "mean", event: bool = False) -> Tensor:
    """Run a one-step `module` over time from a fresh state and reduce its outputs (see `frames` and `read_out`)."""
    reset(module)
    return read_out([module(frame) for frame in frames(x, timesteps, event)], readout)
