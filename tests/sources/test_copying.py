"""A copy of a network holds all that the network holds."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from snnconv.sources.copying import ensure_copyable
from snnconv.user_code import UserCodeError


class ByArguments(nn.Module):
    """A layer that copies itself by making another from its arguments."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.weight = size, nn.Parameter(torch.rand(size))

    def __deepcopy__(self, memo: Any) -> ByArguments:
        return ByArguments(self.size)


def test_a_layer_is_copied_with_what_was_added_to_it() -> None:
    net = nn.Sequential(ByArguments(3))
    net[0].add_module("inner", nn.Linear(2, 2))
    net.again = net[0]
    assert not hasattr(copy.deepcopy(net)[0], "inner")
    ensure_copyable(net, "net")
    copied = copy.deepcopy(net)
    assert isinstance(copied[0], ByArguments) and copied.again is copied[0] is not net[0]
    assert copied.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(a, b) and a is not b for a, b in zip(copied.parameters(), net.parameters(), strict=True))


class Locked(nn.Module):
    """A layer that cannot be copied: it holds what is not to be."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = (line for line in [0])


def test_a_layer_that_cannot_be_copied_is_refused() -> None:
    with pytest.raises(UserCodeError, match="--arch net: copying it fails: TypeError: cannot pickle 'generator' object"):
        ensure_copyable(Locked(), "net")
