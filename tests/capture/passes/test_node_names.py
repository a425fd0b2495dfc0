"""Nodes are named by what they call and in their order, whatever the network computed besides."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.capture.wired import captured


def plain(m: Any, x: Tensor) -> Tensor:
    y = m.a(m.conv(x))
    return m.head((y + 1).flatten(1))


def with_more(m: Any, x: Tensor) -> Tensor:
    y = m.a(m.conv(x))
    _ = (y + 2).flatten(1), (y + 3).float()
    return m.head((y + 1).float().flatten(1))


def test_what_a_network_computes_for_nothing_leaves_no_trace_in_the_names() -> None:
    names = [[node.name for node in captured(forward).graph.graph.nodes] for forward in (plain, with_more)]
    assert names[0] == names[1]
    assert "add" in names[0]
