"""What torch asserts about types leaves the graph, so that a program runs in any type."""

from __future__ import annotations

import torch

from snnconv.capture.passes.metadata_assertions import drop_metadata_assertions
from tests.capture.wired import captured, operators, traced

ASSERTION = "aten._assert_tensor_metadata.default"


def test_an_assertion_about_a_type_is_dropped() -> None:
    graph = traced(lambda m, x: m.head(m.a(m.conv(x.float())).flatten(1)))
    assert ASSERTION in operators(graph)
    drop_metadata_assertions(graph)
    assert ASSERTION not in operators(graph)


def test_a_cast_to_float_follows_the_type_of_the_program() -> None:
    program = captured(lambda m, x: m.head(m.a(m.conv(x.float())).flatten(1)))
    assert program.to(torch.float64).run(torch.rand(2, 2, 4, 4).double()).dtype == torch.float64
