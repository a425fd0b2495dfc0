"""Running a network of one time step over time, from a fresh state."""

from __future__ import annotations

from torch import Tensor, nn

from snnconv.ir.time import frames, read_out
from snnconv.nn.lif import LIF
from snnconv.nn.per_step import PerStep


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


def run(module: nn.Module, x: Tensor, timesteps: int, readout: str = "mean", event: bool = False) -> Tensor:
    """Run a one-step `module` over time from a fresh state and reduce its outputs (see `frames` and `read_out`)."""
    reset(module)
    return read_out([module(frame) for frame in frames(x, timesteps, event)], readout)
