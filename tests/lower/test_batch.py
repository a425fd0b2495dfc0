"""Time is merged into the batch wherever the batch stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.lower import lower
from snnconv.lower.batch import BatchDimensions
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
    found = {node.name: dim for node, dim in BatchDimensions(program).of.items()}
    assert (found["x"], found["unsqueeze"], found["linear"]) == (0, 1, 1)


def test_constants_have_no_batch() -> None:
    program = source_of(trained(Framed())).program
    assert not [node for node in BatchDimensions(program).of if node.op == "get_attr"]


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "max", "none"])
@pytest.mark.parametrize("event", [False, True], ids=["image", "frames"])
def test_a_sequence_is_the_steps_one_after_the_other(event: bool, readout: str) -> None:
    source = source_of(trained(Framed()), event=event, readout=readout, shape=SHAPE)
    x = inputs(source, samples=3)
    program: SpikingProgram = fold(source.program)
    torch.testing.assert_close(lower(program, "sequence").run(x), source.run(x))


class Heads(nn.Module):
    """Merges heads into the batch, in front of it or behind it, on both sides of its neuron."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.act, self.head, self.first = LIF(threshold=0.3), nn.Linear(128, 5), first

    def mixed(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (2, -1)).movedim(-2, 0 if self.first else 1)
        merged = heads.flatten(0, 1)
        merged = merged @ merged.transpose(-1, -2) @ merged
        return merged.view(heads.shape).movedim(0 if self.first else 1, -2).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixed(self.act(self.mixed(x.flatten(2))).sigmoid()).flatten(1))


@pytest.mark.parametrize("readout", ["mean", "none"])
@pytest.mark.parametrize("event", [False, True], ids=["image", "frames"])
@pytest.mark.parametrize("first", [False, True], ids=["samples first", "heads first"])
def test_time_is_merged_beside_heads_that_share_the_dimension_of_the_batch(first: bool, event: bool, readout: str) -> None:
    source = source_of(trained(Heads(first)), event=event, readout=readout, shape=SHAPE)
    x = inputs(source, samples=3)
    assert BatchDimensions(source.program).shared
    torch.testing.assert_close(lower(fold(source.program), "sequence").run(x), source.run(x))


class Tokens(nn.Module):
    """Joins a token, zeros and a repeated row to every sample, before its neuron and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.row = nn.Parameter(torch.randn(1, 1, 64)), nn.Parameter(torch.randn(2, 64))
        self.act, self.head = LIF(threshold=0.3), nn.Linear(640, 5)

    def joined(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        rows = self.row.repeat(b, 1).view(b, 2, 64)
        return torch.cat([self.token.expand(b, -1, -1), x, x.new_zeros(b, 1, 64), rows], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.joined(self.act(self.joined(x.flatten(2)))).flatten(1))


@pytest.mark.parametrize("readout", ["mean", "none"])
@pytest.mark.parametrize("event", [False, True], ids=["image", "frames"])
def test_constants_for_every_sample_are_there_at_every_step(event: bool, readout: str) -> None:
    source = source_of(trained(Tokens()), event=event, readout=readout, shape=SHAPE)
    x = inputs(source, samples=3)
    torch.testing.assert_close(lower(fold(source.program), "sequence").run(x), source.run(x))
