"""A time axis of one step that is taken away at once leaves no trace in the graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snnconv.capture.passes.time_axis import drop_time_axis
from tests.capture.wired import assert_captured_alike, operators, traced

DROPPED: dict[str, Callable[[Tensor], Tensor]] = {
    "put in front and taken away": lambda y: y.unsqueeze(0).squeeze(0),
    "averaged over one step": lambda y: y.unsqueeze(0).mean(0),
    "summed over one step": lambda y: y.unsqueeze(0).sum(0),
    "repeated once": lambda y: y.unsqueeze(0).repeat(1, 1, 1, 1, 1).squeeze(0),
}
KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "averaged over the image": lambda y: y.mean((2, 3), keepdim=True) + y,
    "summed over channels": lambda y: y + y.sum(1, keepdim=True),
    "another axis": lambda y: y.unsqueeze(1).squeeze(1),
    "repeated twice": lambda y: y.repeat(1, 1, 2, 1)[:, :, :4],
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_time_axis_of_one_step_is_dropped(name: str) -> None:
    graph = drop_time_axis(traced(lambda m, x: m.head(DROPPED[name](m.a(m.conv(x))).flatten(1))))
    graph.eliminate_dead_code()
    left = [op for op in operators(graph) if op.startswith("aten.") and "sym" not in op]
    assert left == ["aten.conv2d.default", "aten.flatten.using_ints", "aten.linear.default"]
    assert_captured_alike(lambda m, x: m.head(DROPPED[name](m.a(m.conv(x))).flatten(1)))


@pytest.mark.parametrize("name", KEPT)
def test_other_axes_are_kept(name: str) -> None:
    graph = traced(lambda m, x: m.head(KEPT[name](m.a(m.conv(x))).flatten(1)))
    before = operators(graph)
    assert operators(drop_time_axis(graph)) == before


ONE_BY_ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled": lambda y: (y.unsqueeze(0) * torch.full((1, 1, 1, 1, 1), 2.0)).squeeze(0),
    "added to itself": lambda y: (y.unsqueeze(0) + y.unsqueeze(0)).mean(0),
    "viewed": lambda y: (y.view(1, *y.shape) * 0.5).flatten(0, 1),
    "two in a row": lambda y: torch.stack([y]).abs().clamp(max=1.0)[0],
    "beside the channels": lambda y: (y.unsqueeze(0) * torch.ones(y.shape[1], 1, 1)).unbind(0)[0],
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_operators_on_single_values_compute_without_the_time_axis(name: str) -> None:
    graph = drop_time_axis(traced(lambda m, x: m.head(ONE_BY_ONE[name](m.a(m.conv(x))).flatten(1))))
    graph.eliminate_dead_code()
    assert all(len(node.meta["val"].shape) < 5 for node in graph.nodes if "aten.mul" in str(node.target)), graph
    assert_captured_alike(lambda m, x: m.head(ONE_BY_ONE[name](m.a(m.conv(x))).flatten(1)))
