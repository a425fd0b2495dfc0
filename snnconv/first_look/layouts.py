"""How what a network is shown reaches its forward: one frame a call, or all time steps in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["image", "time first", "batch first", "time last"]
"""What the one call of a whole run is given: one image `[B, ...]`, which the network shows itself T times, or all frames, time
standing first `[T, B, ...]`, second `[B, T, ...]` or last `[B, ..., T]`."""

_AXES: dict[Layout, int] = {"time first": 0, "batch first": 1, "time last": -1}
WITH_FRAMES: tuple[Layout, ...] = tuple(_AXES)
"""The layouts of which the input itself says how many steps there are."""


def arrange(layout: Layout, frames: Sequence[Tensor]) -> Tensor:
    """The frames `[B, ...]` of all steps as one input in that layout, which the network may change in place; for an image, the
    first of them."""
    return frames[0].clone() if layout == "image" else torch.stack(list(frames), _AXES[layout])
