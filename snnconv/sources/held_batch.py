"""A network that holds the size of its batch, as in `x.view(batch_size, -1)` or `torch.zeros(batch_size, 10)`.

It runs on batches of that size alone. While it runs, the size of the batch that it is given is written where it holds its own: on
a batch of its own size that changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from functools import wraps
from typing import Any

from torch import Tensor, nn

from snnconv.first_look.calls import calls
from snnconv.first_look.layouts import Layout
from snnconv.first_look.places import BATCH_NAMES, Place, places_named
from snnconv.ir.program import TimeContract


def follow_the_batch(module: nn.Module, contract: TimeContract) -> tuple[str, ...]:
    """Let a `module` that runs on a batch of the size that it holds alone run on any, in place; returns a note in words if so."""
    held = list(places_named(module, BATCH_NAMES))
    sizes = list(dict.fromkeys(number for _, number in held))
    others = [size for size in range(3, len(sizes) + 5) if size not in sizes][:2]
    if not held or all(any(call.runs(module) for call in calls(module, contract, size)) for size in others):
        return ()
    for size in sizes:
        places = [place for place, number in held if number == size]
        for call, *further in zip(*(calls(module, contract, batch) for batch in (size, *others)), strict=True):
            follower = copy.deepcopy(module)
            _let_follow(follower, places, size, call.layout)
            if call.runs(module) and all(other.runs(follower) for other in further):
                _let_follow(module, places, size, call.layout)
                where = " and ".join(map(str, places))
                return (f"the size of its batch, {size} in {where}, is that of the batch that the network is given",)
    return ()


def _let_follow(module: nn.Module, places: Sequence[Place], size: int, layout: Layout) -> None:
    """Let every call of `module` run with the size of its batch in the places of `size`."""
    kind, dim = type(module), 1 if layout == "time first" else 0

    @wraps(kind.forward)
    def forward(self: Any, x: Any, *args: Any, **named: Any) -> Any:
        with ExitStack() as held:
            for place in places if isinstance(x, Tensor) and x.dim() > dim else ():
                held.enter_context(place.held(self, size, x.shape[dim]))
            return kind.forward(self, x, *args, **named)

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
