"""A constant that is computed from one of another type has the type of what reads it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.ir.program import tensors
from snnconv.nn import LIF
from tests.networks import inputs, source_of, trained

WIDE = torch.linspace(0.5, 1.5, 12, dtype=torch.float64)


class Scaled(nn.Module):
    """Multiplies by constants that were written in float64, and by one made of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(6, 12), LIF(threshold=0.2), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.fc(x) * WIDE.float() + torch.linspace(0, 0.3, 12)))


def test_constants_that_are_cast_and_constants_made_of_numbers_are_held_in_float32() -> None:
    source = source_of(trained(Scaled()), shape=(6,))
    folded = fold(source.program)
    assert {value.dtype for value in tensors(folded.graph).values()} == {torch.float32}
    x = inputs(source, 5)
    torch.testing.assert_close(folded.run(x), source.run(x))
    assert set(tensors(folded.graph)) == set(tensors(fold(source.to(torch.float64).program).graph))
