"""Operators in place become operators that return a new value, which every name for the changed memory sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture.passes.in_place import replace_in_place
from snnconv.errors import Refused
from tests.capture.wired import Wired, assert_captured_alike, captured, operators, traced


def added_in_place(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    z += y
    return z.relu_().mul_(2)


def test_each_operator_in_place_is_replaced_by_the_one_that_returns_its_value() -> None:
    graph = traced(lambda m, x: m.head(added_in_place(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))
    before = [name for name in operators(graph) if "_." in name]
    replace_in_place(graph)
    assert before == ["aten.add_.Tensor", "aten.relu_.default", "aten.mul_.Tensor"]
    assert [name for name in operators(graph) if name in ("aten.add.Tensor", "aten.relu.default", "aten.mul.Tensor")]
    assert not [name for name in operators(graph) if "_." in name]


def test_operators_in_place_are_captured() -> None:
    assert_captured_alike(lambda m, x: m.head(added_in_place(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))


def write(y: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    part(y).mul_(2).add_(1)
    return y


def assigned(y: Tensor, *index: Any, value: Any) -> Tensor:
    y[index] = value
    return y


def viewed_before_and_behind(y: Tensor) -> Tensor:
    first, rows = y[:, :1], y.flatten(2)
    first += 1
    seen = y.transpose(1, 2)
    rows[:, :, 3] = 7
    first *= 2
    return torch.cat([y, first, seen.transpose(1, 2), rows.view_as(y)], 1)[:, :3] + rows.view_as(y)


def copied_by_a_reshape(y: Tensor) -> Tensor:
    y.transpose(1, 2).reshape(y.shape[0], -1).add_(1)
    return y


def read_before(y: Tensor) -> Tensor:
    before = y * 1
    y[:, 1] = 5
    return y + before


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "a number in a slice": lambda y: assigned(y, slice(None), slice(None), slice(1), value=3.0),
    "a number in the last rows": lambda y: assigned(y, slice(None), slice(None), slice(-2, None), value=3.0),
    "a number in a channel": lambda y: assigned(y, slice(None), 1, value=0),
    "a number in the last column": lambda y: assigned(y, ..., -1, value=0),
    "a number in every other row": lambda y: assigned(y, slice(None), slice(None), slice(None, None, 2), value=0.5),
    "a number in a corner": lambda y: assigned(y, slice(None), 0, slice(2), slice(1, 3), value=0.5),
    "a number in all": lambda y: assigned(y, slice(None), value=0.5),
    "a tensor in a slice": lambda y: assigned(y, slice(None), slice(None), slice(1), value=torch.tensor([1.0, 2.0, 3.0, 4.0])),
    "another slice": lambda y: assigned(y, slice(None), 0, value=y[:, 1] * 2),
    "where a mask is set": lambda y: assigned(y, y > 0.2, value=0.25),
    "at indices": lambda y: assigned(y, slice(None), torch.tensor([0, 2]), value=0.25),
    "behind a view": lambda y: write(y, lambda z: z.flatten(1)),
    "behind a slice": lambda y: write(y, lambda z: z[:, 1:, ::3]),
    "behind a turned slice": lambda y: write(y, lambda z: z.permute(0, 2, 3, 1)[:, 0].transpose(1, 2)),
    "behind a piece": lambda y: write(y, lambda z: z.split([1, 2], 1)[1]),
    "behind a chunk": lambda y: write(y, lambda z: z.chunk(2, -1)[1]),
    "behind one of all": lambda y: write(y, lambda z: z.unbind(1)[2]),
    "behind a narrow piece": lambda y: write(y, lambda z: z.narrow(2, 1, 2)),
    "seen by other names": viewed_before_and_behind,
    "not of what a reshape copies": copied_by_a_reshape,
    "not of what was computed before": read_before,
    "turned in place": lambda y: y.unsqueeze_(1).transpose_(1, 2).mul_(2).squeeze_(2),
    "zeroed": lambda y: write(y, lambda z: z[:, 1].zero_()),
    "masked": lambda y: write(y, lambda z: z[:, 1:].masked_fill_(z[:, 1:] > 0.5, 3.0)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_under_every_name(change: Callable[[Tensor], Tensor]) -> None:
    program = assert_captured_alike(lambda m, x: m.head(change(m.conv2(m.a(m.conv(x)))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))
    assert not [name for name in operators(program.graph.graph) if "_." in name]


def test_a_change_in_place_that_nothing_replaces_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"changes a part of a value in place, behind aten.diagonal"):
        captured(
            lambda m, x: m.head(write(m.conv2(m.a(m.conv(x))), lambda z: z.diagonal(0, 2, 3)).flatten(1)),
            conv2=nn.Conv2d(3, 3, 1),
        )
