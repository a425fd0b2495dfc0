"""Running a network of one time step over time, from a fresh state."""

from __future__ import annotations

from torch import Tensor, nn

from snnconv.ir.time import TimeContract
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
    """Run a one-step `module` over time from a fresh state and reduce its outputs `[B, K]` (see `TimeContract`).

    Args:
        x: an image `[B, C, H, W]` shown at every step, or if `event` frames `[B, T, C, H, W]`.
        readout: mean, sum, last, max, or none, which gives `[B, T, K]`.

    Raises ValueError for another number of frames than `timesteps`, and for an unknown `readout`.
    """
    reset(module)
    shape = tuple(x.shape[2:] if event else x.shape[1:])
    return TimeContract(timesteps, shape, event, readout).run(lambda frame, t: (module(frame),), x)[0]
