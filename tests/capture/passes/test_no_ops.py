"""What gives its input back is dropped; a cast of another type is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.capture.wired import assert_captured_alike, operators

IDLE: dict[str, Callable[[Tensor], Tensor]] = {
    "float": lambda y: y.float(),
    "to the type": lambda y: y.to(torch.float32),
    "to the type of another": lambda y: y.to(y + 1),
    "type of another": lambda y: y.type_as(y + 1),
    "a slice of all": lambda y: y[:, 0:],
    "a slice of all of the batch": lambda y: y[: y.shape[0]],
}


@pytest.mark.parametrize("idle", IDLE.values(), ids=IDLE)
def test_an_operator_that_does_nothing_is_dropped(idle: Callable[[Tensor], Tensor]) -> None:
    program = assert_captured_alike(lambda m, x: m.head(idle(m.a(m.conv(x))).flatten(1)))
    assert not {"aten.slice.Tensor", "aten.type_as.default", "aten.to.dtype", "aten.to.other"} & set(
        operators(program.graph.graph)
    )


def test_a_constant_written_in_forward_is_a_constant_of_the_graph() -> None:
    program = assert_captured_alike(
        lambda m, x: m.head((m.a(m.conv(x)) * torch.tensor(0.5) + torch.tensor([1.0, 2, 3, 4])).flatten(1))
    )
    assert "aten.lift_fresh_copy.default" not in operators(program.graph.graph)


OTHER: dict[str, Callable[[Tensor], Tensor]] = {
    "to integers and back": lambda y: (y * 3).long().float(),
    "to half precision and back": lambda y: (y * 0.3).half().float(),
    "to double precision and back": lambda y: (y.double() / 3).float(),
    "of booleans": lambda y: (y > 0.5).float(),
    "of booleans to the type of another": lambda y: (y > 0.5).type_as(y),
}


@pytest.mark.parametrize("cast", OTHER.values(), ids=OTHER)
def test_a_cast_of_another_type_stays(cast: Callable[[Tensor], Tensor]) -> None:
    program = assert_captured_alike(lambda m, x: m.head(cast(m.a(m.conv(x))).flatten(1)))
    assert {"aten.to.dtype", "aten.type_as.default"} & set(operators(program.graph.graph))
