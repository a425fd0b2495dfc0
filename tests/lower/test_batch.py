"""Time is merged into the batch wherever the batch stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.lower import lower
from snnconv.lower.batch import batch_dimensions
from snnconv.nn import LIF
from tests.networks import SHAPE, inputs, source_of, trained


class Framed(nn.Module):
    """Keeps its one step as a dimension of its own, beside a short cut from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(2, 2, 3, padding=1), LIF(threshold=0.3), nn.Linear(128, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = x.unsqueeze(0) + self.act(self.conv(x)).unsqueeze(0)
        return self.head(y.flatten(2)).squeeze(0)


def test_the_batch_is_found_behind_a_dimension_of_one_step() -> None:
    program = source_of(trained(Framed())).program
    found = {node.name: dim for node, dim in batch_dimensions(program).items()}
    assert (found["x"], found["unsqueeze"], found["linear"]) == (0, 1, 1)


def test_constants_have_no_batch() -> None:
    program = source_of(trained(Framed())).program
    assert not [node for node in batch_dimensions(program) if node.op == "get_attr"]


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "none"])
@pytest.mark.parametrize("event", [False, True], ids=["image", "frames"])
def test_a_sequence_is_the_steps_one_after_the_other(event: bool, readout: str) -> None:
    source = source_of(trained(Framed()), event=event, readout=readout, shape=SHAPE)
    x = inputs(source, samples=3)
    program: SpikingProgram = fold(source.program)
    torch.testing.assert_close(lower(program, "sequence").run(x), source.run(x))
