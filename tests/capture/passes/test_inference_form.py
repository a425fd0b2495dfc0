"""Operators that differ between training and inference are captured in the form that they have at inference."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn import functional

from snnconv.ir.program import is_random
from tests.capture.wired import assert_captured_alike, captured, operators

DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@pytest.mark.parametrize("in_place", [False, True], ids=["", "in place"])
@pytest.mark.parametrize("kind", DROPOUTS)
def test_a_dropout_is_dropped(kind: type[nn.Module], in_place: bool) -> None:
    program = assert_captured_alike(lambda m, x: m.head(m.drop(m.a(m.conv(x)) * 2).flatten(1)), drop=kind(0.5, inplace=in_place))
    assert not [name for name in operators(program.graph.graph) if "dropout" in name]


@pytest.mark.parametrize("in_place", [False, True], ids=["", "in place"])
def test_a_randomised_leaky_relu_is_a_leaky_relu(in_place: bool) -> None:
    layer = nn.RReLU(0.1, 0.4, inplace=in_place)
    program = assert_captured_alike(
        lambda m, x: m.head(m.b(m.act(m.conv2(m.a(m.conv(x))))).flatten(1)), act=layer, conv2=nn.Conv2d(3, 3, 1)
    )
    assert "aten.leaky_relu.default" in operators(program.graph.graph)


def test_attention_that_drops_nothing_draws_nothing() -> None:
    def attention(drop: float) -> bool:
        program = captured(
            lambda m, x: m.head(functional.scaled_dot_product_attention(y := m.a(m.conv(x)), y, y, dropout_p=drop).flatten(1))
        )
        return any(is_random(node) for node in program.graph.graph.nodes)

    assert not attention(0.0) and attention(0.5)


def test_a_dropout_that_is_on_at_inference_stays() -> None:
    program = captured(lambda m, x: m.head(functional.dropout(m.a(m.conv(x)), 0.5, training=True).flatten(1)))
    assert any(is_random(node) for node in program.graph.graph.nodes)
