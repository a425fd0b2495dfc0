"""A network in which the samples of a batch meet is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture.samples_apart import is_in_inference_form
from snnconv.errors import Refused
from tests.capture.wired import captured

MEETING: dict[str, Callable[[Tensor], Tensor]] = {
    "a mean over the batch": lambda y: y - y.mean(0, keepdim=True),
    "a softmax over the batch": lambda y: y.softmax(0),
    "an order of the batch": lambda y: y.flip(0),
    "a shift that two samples do not see": lambda y: y.roll(64, 0),
}


@pytest.mark.parametrize("name", MEETING)
def test_a_network_in_which_samples_meet_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"depends on the other samples of its batch; leave the batch dimension alone"):
        captured(lambda m, x: m.head(MEETING[name](m.a(m.conv(x)).flatten(1))))


BOUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "a scale by the brightest": lambda x: x / x.amax().clamp(min=1e4),
    "a choice by the brightest": lambda x: torch.where(x.amax() > 1e3, x / 255, x),
    "a choice by the darkest": lambda x: torch.where(x.amin() < -10, x.flip(1), x),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_samples_that_meet_on_bright_images_alone_are_refused_though_the_output_is_silent(name: str) -> None:
    with pytest.raises(Refused, match=r"depends on the other samples of its batch; leave the batch dimension alone"):
        captured(lambda m, x: m.head(m.a(m.conv(BOUNDED[name](x)) - 1e3).flatten(1)))


def test_samples_that_are_looked_up_stay_apart() -> None:
    def looked_up(m, x):
        return m.head(m.a(m.table(x.long()).movedim(-1, 1)[:, :, 0].repeat(1, 1, 1, 1)).flatten(1))

    assert captured(looked_up, table=nn.Embedding(2, 3)).neurons


def test_random_numbers_and_batch_statistics_are_no_inference_form() -> None:
    def spiking(m, x):
        return m.head(m.norm(m.a(m.conv(x))).flatten(1))

    class OfTheBatch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.batch_norm(x, None, None, training=True)

    assert is_in_inference_form(captured(spiking, norm=nn.BatchNorm2d(3)))
    assert not is_in_inference_form(captured(spiking, norm=OfTheBatch()))
    assert not is_in_inference_form(captured(lambda m, x: m.head(nn.functional.dropout(m.a(m.conv(x))).flatten(1))))
