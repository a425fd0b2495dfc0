"""Operators in place become operators that return a new value, unless another name sees the change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from snnconv.capture.passes.in_place import replace_in_place
from snnconv.errors import Refused
from tests.capture.wired import Wired, assert_captured_alike, captured, operators, traced


def added_in_place(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    z += y
    return z.relu_().mul_(2)


def changed_behind_a_view(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    z.flatten(1).add_(1)
    return z


def seen_through_a_view(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    seen = z.flatten(1)
    z += 1
    return z + seen.view_as(z)


def test_each_operator_in_place_is_replaced_by_the_one_that_returns_its_value() -> None:
    graph = traced(lambda m, x: m.head(added_in_place(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))
    before = [name for name in operators(graph) if "_." in name]
    replace_in_place(graph)
    assert before == ["aten.add_.Tensor", "aten.relu_.default", "aten.mul_.Tensor"]
    assert [name for name in operators(graph) if name in ("aten.add.Tensor", "aten.relu.default", "aten.mul.Tensor")]
    assert not [name for name in operators(graph) if "_." in name]


def test_operators_in_place_are_captured() -> None:
    assert_captured_alike(lambda m, x: m.head(added_in_place(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("change", [changed_behind_a_view, seen_through_a_view])
def test_a_change_that_another_name_sees_is_refused(change: Callable[[Wired, Tensor], Tensor]) -> None:
    with pytest.raises(Refused, match=r"changes a value in place, in aten.add_"):
        captured(lambda m, x: m.head(change(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))
