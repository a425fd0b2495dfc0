"""What a network expects over time: what it is shown at each time step, and how the outputs of all steps become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snnconv.words import READOUTS

Step = Callable[[Tensor, int], Tensor]
"""One time step: what is shown `[B, ...]` and the number of the step, from 0, to the output `[B, K]`."""


@dataclass(frozen=True)
class TimeContract:
    """What a network expects over time.

    `event` False: one image `[B, C, H, W]` shown at each of `timesteps` steps. True: frames `[B, T, C, H, W]`.
    `readout` reduces the outputs of all steps: mean, sum, last, max (of each output), or none (`[B, T, K]`).
    """

    timesteps: int
    input_shape: tuple[int, ...]
    event: bool = False
    readout: str = "mean"

    def batch_shape(self, batch: int) -> tuple[int, ...]:
        """The shape of a whole input of `batch` samples."""
        time = (self.timesteps,) if self.event else ()
        return (batch, *time, *self.input_shape)

    def each_step(self, step: Step, x: Tensor) -> list[Tensor]:
        """The outputs of `step` on a whole input `x`, called for one time step after the other.

        Raises ValueError if `x` has another number of frames.
        """
        return [step(frame, t) for t, frame in enumerate(frames(x, self.timesteps, self.event))]

    def run(self, step: Step, x: Tensor) -> Tensor:
        """The same, read out: `[B, K]`, or `[B, T, K]`."""
        return read_out(self.each_step(step, x), self.readout)


def frames(x: Tensor, timesteps: int, event: bool) -> Iterator[Tensor]:
    """The input of each time step: `x` `[B, C, H, W]` shown at each of them, or the frames of `x` `[B, T, C, H, W]`.

    Raises ValueError if there are more or fewer frames than time steps.
    """
    if event and x.shape[1] != timesteps:
        raise ValueError(f"{x.shape[1]} frames for {timesteps} time steps")
    for t in range(timesteps):
        yield x[:, t] if event else x


def read_out(outputs: list[Tensor], readout: str) -> Tensor:
    """Reduce the outputs `[B, K]` of all steps; `none` stacks them to `[B, T, K]`. Raises ValueError for an unknown `readout`."""
    stacked = torch.stack(outputs, dim=1)
    if readout == "mean":
        return stacked.mean(1)
    if readout == "sum":
        return stacked.sum(1)
    if readout == "last":
        return stacked[:, -1]
    if readout == "max":
        return stacked.amax(1)
    if readout == "none":
        return stacked
    raise ValueError(f"readout is {readout!r}; it is one of {', '.join(READOUTS)}")
