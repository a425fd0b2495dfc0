"""How a surrogate function fires on its threshold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnconv.errors import Refused


def strictness(fire: Callable[[Tensor], Tensor], name: str) -> bool:
    """Whether `fire(potential - threshold)` fires only above 0 (True), or at 0 as well (False).

    Raises `Refused`, naming the layer `name`, if it gives anything but spikes of 0 and 1.
    """
    tiny = torch.finfo(torch.float32).tiny
    with torch.no_grad():
        below, at, above = fire(torch.tensor([-100.0, -1.0, -tiny, 0.0, tiny, 1.0, 100.0])).split([3, 1, 3])
    if bool(below.any()) or not bool((above == 1).all()) or at.item() not in (0, 1):
        raise Refused(f"{name} does not fire spikes of 0 and 1 on its threshold", "let its surrogate function spike at inference")
    return at.item() == 0
