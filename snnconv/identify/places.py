"""A layer that its network calls at several places, each call being all time steps from a fresh state: a layer for each place."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def split(layer: nn.Module, places: int) -> list[nn.Module]:
    """Let `layer`, in place, hand its calls to so many copies of it in turn; these are its children `0`, `1`, ...

    It keeps its class and its attributes, so that the network can ask it anything.
    """
    kind, copies = type(layer), {str(index): copy.deepcopy(layer) for index in range(places)}
    names = tuple(copies)

    def forward(self: Any, *args: Any, **named: Any) -> Any:
        name, self._turn = names[self._turn], (self._turn + 1) % len(names)
        # Past a `__call__` of the layer's own, behind which this is.
        return nn.Module.__call__(self.get_submodule(name), *args, **named)

    for name, copied in copies.items():
        layer.add_module(name, copied)
    layer.__class__ = type(kind.__name__, (kind,), {"forward": forward, "_turn": 0, "__module__": kind.__module__})
    return list(copies.values())
