"""The batch size leaves the reshapes of a graph; any other use of it is refused."""

from __future__ import annotations

import pytest
import torch

from snnconv.capture.passes.batch_size import drop_batch_size
from snnconv.errors import Refused
from tests.capture.wired import assert_captured_alike, captured, traced

_ATEN = torch.ops.aten


def test_the_batch_size_of_a_reshape_becomes_minus_one() -> None:
    graph = traced(lambda m, x: m.head(m.a(m.conv(x)).view(x.shape[0], 48)))
    (reshape,) = graph.find_nodes(op="call_function", target=_ATEN.view.default)
    drop_batch_size(graph)
    assert reshape.args[1] == [-1, 48]


RESHAPES = {
    "flatten": lambda y: y.flatten(1),
    "view with a batch size": lambda y: y.view(y.shape[0], 48),
    "view with a free batch": lambda y: y.view(-1, 48),
    "reshape": lambda y: y.reshape(y.size(0), 48),
    "permute and reshape": lambda y: y.permute(0, 2, 3, 1).reshape(y.shape[0], 48),
}


@pytest.mark.parametrize("name", RESHAPES)
def test_reshapes_that_keep_the_batch_are_captured(name: str) -> None:
    assert_captured_alike(lambda m, x: m.head(RESHAPES[name](m.a(m.conv(x)))))


@pytest.mark.parametrize("operator", ["view", "reshape"])
def test_a_reshape_that_leaves_one_size_open_is_captured(operator: str) -> None:
    assert_captured_alike(lambda m, x: m.head(getattr(m.a(m.conv(x)), operator)(x.shape[0], -1)))


ARITHMETIC = {
    "scaled by the batch size": lambda m, y: y * y.shape[0],
    "zeros of the batch size": lambda m, y: y + torch.zeros(y.shape[0], 3, 4, 4),
    "expanded to the batch size": lambda m, y: y + m.conv.bias.view(1, 3, 1, 1).expand(y.shape[0], -1, 4, 4),
    "divided by the batch size": lambda m, y: y / y.shape[0],
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_with_the_batch_size_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"computes with the batch size .*write reshapes as x.flatten"):
        captured(lambda m, x: m.head(ARITHMETIC[name](m, m.a(m.conv(x))).flatten(1)))
