"""The batch size leaves reshapes and constants; arithmetic with it is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snnconv.capture.passes.batch_size import drop_batch_size
from snnconv.errors import Refused
from snnconv.ir.over_batch import OVER_BATCH
from tests.capture.wired import SHAPE, Wired, assert_captured_alike, captured, traced
from tests.networks import program_of, trained

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


def test_a_constant_of_the_batch_size_becomes_one_for_every_sample() -> None:
    graph = drop_batch_size(traced(lambda m, x: m.head((m.a(m.conv(x)) + torch.zeros(x.shape[0], 3, 1, 4)).flatten(1))))
    (made,) = graph.find_nodes(op="call_function", target=OVER_BATCH)
    assert tuple(made.args[0].meta["val"].shape) == (1, 3, 1, 4) and made.args[2] == 0
    assert not graph.find_nodes(op="call_function", target=_ATEN.sym_size.int)


def bias(m: Wired) -> Tensor:
    return m.conv.bias.view(1, 3, 1, 1)


def filled(whole: Tensor, y: Tensor) -> Tensor:
    for i in range(4):
        whole[..., i] = y[..., 3 - i]
    return whole


USES: dict[str, Callable[[Wired, Tensor], Tensor]] = {
    "step kept in a reshape": lambda m, y: y.reshape(1, y.shape[0], 3, 16).squeeze(0),
    "step kept and a size left open": lambda m, y: y.view(1, y.shape[0], 3, -1)[0],
    "multiple": lambda m, y: y.reshape(y.shape[0] * 3, 16).reshape(y.shape[0], -1),
    "quotient": lambda m, y: y.reshape(y.shape[0] * 4, 12).reshape(y.shape[0] * 4 // 4, 48),
    "unflatten": lambda m, y: y.flatten(0, 1).unflatten(0, (y.shape[0], 3)),
    "zeros": lambda m, y: y + torch.zeros(y.shape[0], 3, 4, 4),
    "ones of a multiple": lambda m, y: y + torch.ones(y.shape[0] * 3, 4, 4).view(y.shape[0], 3, 4, 4),
    "full": lambda m, y: y + torch.full((y.shape[0], 1, 1, 1), 0.25),
    "new full": lambda m, y: torch.cat([y[:, :2], y.new_full((y.shape[0], 1, 4, 4), 0.5)], 1),
    "new ones": lambda m, y: y * y.new_ones(y.shape[0], 3, 1, 1),
    "filled": lambda m, y: y + torch.empty(y.shape[0], 3, 4, 4).fill_(0.25),
    "written in parts": lambda m, y: filled(torch.zeros(y.shape[0], 3, 4, 4), y),
    "written in parts of a multiple": lambda m, y: filled(torch.empty(y.shape[0] * 3, 4, 4), y.flatten(0, 1)).view(-1, 3, 4, 4),
    "expanded": lambda m, y: y + bias(m).expand(y.shape[0], -1, 4, 4),
    "expanded by one more dimension": lambda m, y: y + m.conv.bias.view(3, 1, 1).expand(y.shape[0], 3, 4, 4),
    "expanded behind a step": lambda m, y: y + bias(m).unsqueeze(0).expand(1, y.shape[0], 3, 4, 4)[0],
    "expanded as another": lambda m, y: torch.cat([y[:, :2], bias(m)[:, :1].expand_as(y[:, :1])], 1),
    "expanded with its samples": lambda m, y: y[:, :1].expand(y.shape[0], 3, 4, 4) + y,
    "repeated": lambda m, y: y + bias(m).repeat(y.shape[0], 1, 4, 4),
    "repeated, several rows": lambda m, y: y.flatten(2) + m.conv.weight.flatten(1)[:, :16].repeat(y.shape[0], 1).view(-1, 3, 16),
    "tiled": lambda m, y: y + torch.tile(bias(m), (y.shape[0], 1, 4, 4)),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_follows_the_batch_is_captured(use: Callable[[Wired, Tensor], Tensor]) -> None:
    assert_captured_alike(lambda m, x: m.head(use(m, m.a(m.conv(x))).flatten(1)))


REFUSED: dict[str, Callable[[Wired, Tensor], Tensor]] = {
    "scaled by the batch size": lambda m, y: y * y.shape[0],
    "divided by the batch size": lambda m, y: y / y.shape[0],
    "added to the batch size": lambda m, y: y + y.shape[0],
    "numbers of the samples": lambda m, y: y + torch.arange(y.shape[0]).view(-1, 1, 1, 1),
    "pairs of samples": lambda m, y: y + y.flatten(1).expand(y.shape[0], y.shape[0], 48).mean(1).view(-1, 3, 4, 4),
}


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_arithmetic_with_the_batch_size_is_refused(use: Callable[[Wired, Tensor], Tensor]) -> None:
    with pytest.raises(Refused, match=r"computes with the batch size .*in reshapes, in expand and repeat"):
        captured(lambda m, x: m.head(use(m, m.a(m.conv(x))).flatten(1)))


class Scaled(Wired):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.a(self.conv(x)).flatten(1)) * x.shape[0]


def test_a_refusal_names_the_line() -> None:
    with pytest.raises(Refused, match=r"in test_batch_size.py line \d+ \(return self.head.*x.shape\[0\]\)"):
        program_of(trained(Scaled(lambda m, x: x)), shape=SHAPE)


def test_a_batch_size_made_a_number_is_refused_with_what_to_write() -> None:
    with pytest.raises(Refused, match=r"for one batch size only.*use x.shape\[0\] as it is, not len\(x\)"):
        captured(lambda m, x: m.head(m.a(m.conv(x)).view(len(x), 48)))
