"""What a network expects over time: what it is shown at each time step, and how an output of all steps becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snnconv.words import READOUTS

Outputs = tuple[Tensor, ...]
"""The outputs of a network in their order, each `[B, K]`, or `[B, T, K]`; of most networks there is one."""
Step = Callable[[Tensor, int], Outputs]
"""One time step: what is shown `[B, ...]` and the number of the step, from 0, to the outputs `[B, K]`."""


@dataclass(frozen=True)
class TimeContract:
    """What a network expects over time.

    `event` False: one image `[B, C, H, W]` shown at each of `timesteps` steps. True: frames `[B, T, C, H, W]`.
    `readout` reduces the outputs of all steps: mean, sum, last, max (of each value), or none (`[B, T, K]`). A network with
    several `outputs` has the name and the read-out of each there, in their order; `readout` is that of those that have time.
    """

    timesteps: int
    input_shape: tuple[int, ...]
    event: bool = False
    readout: str = "mean"
    outputs: tuple[tuple[str, str], ...] = ()

    @property
    def readouts(self) -> dict[str, str]:
        """The read-out of every output by its name, which is empty for one alone."""
        return dict(self.outputs) or {"": self.readout}

    def reading_out(self, readout: str) -> TimeContract:
        """The same, every output being read out in that way."""
        return replace(self, readout=readout, outputs=tuple((name, readout) for name, _ in self.outputs))

    def plain(self) -> dict[str, Any]:
        """All that it says as JSON values; `outputs` only if there are several."""
        return {name: value for name, value in asdict(self).items() if name != "outputs" or value}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> TimeContract:
        """The inverse, with lists for tuples. Raises `KeyError`, `TypeError` or `ValueError` for what is no
        contract."""
        named = tuple((str(name), str(readout)) for name, readout in plain.get("outputs", ()))
        if len(dict(named)) < len(named) or len(named) == 1:
            raise ValueError(f"the outputs are {named}")
        return cls(**{**plain, "input_shape": tuple(map(int, plain["input_shape"])), "outputs": named})

    def batch_shape(self, batch: int) -> tuple[int, ...]:
        """The shape of a whole input of `batch` samples."""
        time = (self.timesteps,) if self.event else ()
        return (batch, *time, *self.input_shape)

    def run(self, step: Step, x: Tensor) -> Outputs:
        """Every output of `step`, called on a whole input `x` for one time step after the other, read out.

        Raises ValueError if `x` has another number of frames, or a step gives another number of outputs.
        """
        steps = [step(frame, t) for t, frame in enumerate(frames(x, self.timesteps, self.event))]
        over_time = zip(*steps, strict=True)
        return tuple(read_out(list(each), how) for each, how in zip(over_time, self.readouts.values(), strict=True))


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
