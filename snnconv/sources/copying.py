"""Copies of a network that hold all that it holds: what is found out about it is found on copies.

A layer that copies itself by making another of its class from its arguments, as those of sinabs do, would lose what was added to
it, a hook or a weight of another size.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from snnconv.user_code import running_user_code


def ensure_copyable(module: nn.Module, arch: str) -> None:
    """Let the layers of `module`, in place, be copied as other objects are.

    Raises `UserCodeError` if it cannot be copied all the same.
    """
    for layer in module.modules():
        kind = type(layer)
        if hasattr(kind, "__deepcopy__"):
            layer.__class__ = type(kind.__name__, (kind,), {"__deepcopy__": _copied, "__module__": kind.__module__})
    with running_user_code(f"--arch {arch}", "copying it"):
        copy.deepcopy(module)


def _copied(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
    copied = memo[id(self)] = type(self).__new__(type(self))
    vars(copied).update(copy.deepcopy(vars(self), memo))
    return copied
