"""Layers that know which time step it is: the constants they learned differ from step to step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

At = Callable[[Tensor], Tensor]
"""Gives the entry of a constant `[T, ...]` for the time step that runs."""


class PerStep(nn.Module):
    """A layer for at most `timesteps` steps. `snnconv.nn.reset` starts a new sample; every call is one step."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        if timesteps < 1:
            raise ValueError(f"timesteps is {timesteps}; it is at least 1")
        self.timesteps = timesteps
        self.t = 0

    def forward(self, x: Tensor) -> Tensor:
        """The next time step. Raises ValueError after the last one that was trained."""
        if self.t >= self.timesteps:
            raise ValueError(
                f"{type(self).__name__} was trained for {self.timesteps} time steps and is asked for another; "
                "snnconv.nn.reset starts a new sample"
            )
        y = self.at_step(x, lambda constant: constant[self.t])
        self.t += 1
        return y

    def at_step(self, x: Tensor, at: At) -> Tensor:
        """One step on `x` `[B, C, ...]`, taking its own constants from `at`."""
        raise NotImplementedError
