"""Constants that change from step to step, as TEBN, BNTT and TAB learn them: `[T, ...]`, one entry per time step.

In a captured step graph such a constant stands behind one operator, `snnconv::at_step`, which gives the entry of the step that
runs. It has no kernel on purpose: whoever runs a graph over time knows the step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from snnconv.errors import Refused
from snnconv.ir.starting import STARTING_FROM, starting_from

torch.library.define("snnconv::at_step", "(Tensor constant) -> Tensor")


@torch.library.register_fake("snnconv::at_step")
def _entry(constant: Tensor) -> Tensor:
    return constant.new_empty(constant.shape[1:])


AT_STEP = torch.ops.snnconv.at_step.default


class EntryAt(TorchDispatchMode):
    """While it is on, `snnconv::at_step` gives the entry of step `t`, counted from 0, and a memory what that finds in it.

    Raises IndexError if there is no such entry.
    """

    def __init__(self, t: int) -> None:
        super().__init__()
        self.t = t

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is STARTING_FROM:
            return starting_from(args[0], args[1], self.t)
        return args[0][self.t] if func is AT_STEP else func(*args, **(kwargs or {}))


def ensure_steps(holder: str, held: int, wanted: int) -> None:
    """Raise `Refused` if `holder` holds constants for fewer steps than wanted."""
    if held < wanted:
        raise Refused(f"{holder} holds constants for {held} time steps, not for {wanted}", f"give --timesteps {held} or fewer")
