"""Batch norm that neither a layer nor a neuron can take becomes a plain scale and shift."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.fold.plain_scale import FoldIntoScale
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.nn import LIF, MPBN, TEBN
from tests.fold.test_fold import assert_folds, settled
from tests.fold.test_linear_norm import Wired, into
from tests.networks import program_of

_ATEN = torch.ops.aten


def operators(program: SpikingProgram) -> Counter[str]:
    """How often each operator stands in the graph."""
    return Counter(str(node.target) for node in program.graph.graph.nodes if node.op == "call_function")


PLACES = {
    "before the first conv": lambda: nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1), LIF(), nn.Flatten()),
    "before pooling": lambda: nn.Sequential(nn.BatchNorm2d(2), nn.MaxPool2d(2), LIF(), nn.Flatten()),
    "on spikes": lambda: nn.Sequential(LIF(), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.Flatten()),
    "before the output": lambda: nn.Sequential(LIF(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(2)),
    "no affine": lambda: nn.Sequential(LIF(norm=MPBN(2)), nn.BatchNorm2d(2, affine=False), nn.Flatten()),
}


@pytest.mark.parametrize("place", PLACES)
def test_norm_becomes_one_multiplication_and_one_addition(place: str) -> None:
    folded = assert_folds(PLACES[place]())
    (norm,) = (site.path for site in folded.sites if site.kind != "MPBN")
    assert into(folded)[norm] == norm and folded.sites[0].detail.startswith("plain scale and shift")
    added = operators(folded) - operators(folded.source)
    assert added == {"aten.mul.Tensor": 1, "aten.add.Tensor": 1}
    assert {f"{norm}.scale", f"{norm}.shift"} <= set(tensors(folded.graph))


def transposed() -> nn.Module:
    return nn.Sequential(LIF(), nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 3, 2), nn.Flatten())


REASONS: dict[str, tuple[nn.Module, str]] = {
    "pooling": (
        PLACES["before pooling"](),
        "it follows the input, no layer; max_pool2d reads it, no neuron; max_pool2d reads it, no layer",
    ),
    "padding": (
        PLACES["on spikes"](),
        "it follows neuron 0, no layer; 2 reads it, no neuron; 2 behind it pads with zeros, which a shift does not reach",
    ),
    "output": (
        PLACES["before the output"](),
        "it follows flatten, no layer; the output reads it, no neuron; the output reads it, no layer",
    ),
    "a transposed layer": (transposed(), "it follows neuron 0, no layer; 2 reads it, no neuron; 2 behind it is transposed"),
    "another dimension": (
        nn.Sequential(LIF(), nn.Linear(8, 4), nn.BatchNorm2d(2), nn.Flatten()),
        "1 in front of it works on another dimension; flatten reads it, no neuron; flatten reads it, no layer",
    ),
    "another reader": (
        Wired(
            lambda m, x: (m.norm(y := m.conv(x)) + m.a(y)).flatten(1), conv=nn.Conv2d(2, 2, 3), norm=nn.BatchNorm2d(2), a=LIF()
        ),
        "it is not alone in reading conv; add reads it, no neuron; add reads it, no layer",
    ),
    "steps": (
        Wired(
            lambda m, x: m.fc(m.norm(m.conv(m.a(x))).flatten(1)),
            conv=nn.Conv2d(2, 2, 3),
            norm=TEBN(2, 3),
            a=LIF(),
            fc=nn.Linear(72, 3),
        ),
        "it changes from step to step, the weights of conv do not; flatten reads it, no neuron; flatten reads it, no layer",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_site_says_why_no_layer_or_neuron_takes_the_norm(name: str) -> None:
    net, reason = REASONS[name]
    folded = fold(program_of(settled(net), timesteps=3))
    assert {site.detail for site in folded.sites if site.into == site.path} == {f"plain scale and shift: {reason}"}


def test_scale_is_gamma_over_the_root_and_shift_the_rest() -> None:
    norm = nn.BatchNorm2d(2)
    held = tensors(fold(program_of(settled(nn.Sequential(LIF(), norm, nn.Flatten())))).graph)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    assert torch.equal(held["1.scale"].flatten(), scale.float()) and held["1.scale"].shape == (2, 1, 1)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    assert torch.equal(held["1.shift"].flatten(), shift.float())


def test_norm_read_by_a_neuron_and_by_a_conv_stays_a_plain_scale() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.norm(x)
        return (m.a(y) + m.conv(y)).flatten(1)

    folded = assert_folds(Wired(wiring, norm=nn.BatchNorm2d(2), a=LIF(), conv=nn.Conv2d(2, 2, 3, padding=1)))
    assert into(folded) == {"norm": "norm"}


def test_norms_in_a_row_share_one_scale() -> None:
    folded = assert_folds(nn.Sequential(LIF(), nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Flatten()))
    assert into(folded) == {"1": "2", "2": "2"}


def test_norms_in_a_row_stay_two_where_something_reads_between_them() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.first(m.a(x))
        return (m.second(y) + y).flatten(1)

    folded = assert_folds(Wired(wiring, first=nn.BatchNorm2d(2), second=nn.BatchNorm2d(2), a=LIF()))
    assert into(folded) == {"first": "first", "second": "second"}


def test_one_norm_used_twice_keeps_one_pair_of_constants() -> None:
    net = Wired(lambda m, x: m.norm(m.norm(m.a(x)).relu()).flatten(1), norm=nn.BatchNorm2d(2), a=LIF())
    folded = assert_folds(net)
    assert [site.path for site in folded.sites] == ["norm", "norm"]
    assert set(tensors(folded.graph)) == {"norm.scale", "norm.shift"}


def test_dense_and_sequence_norms_are_laid_out_along_channels() -> None:
    for shape, laid in (((4,), (4,)), ((4, 5), (4, 1)), ((4, 2, 2, 2), (4, 1, 1, 1))):
        norm = nn.BatchNorm3d(4) if len(shape) == 4 else nn.BatchNorm1d(4)
        folded = assert_folds(nn.Sequential(LIF(), norm, nn.Flatten()), shape)
        assert tensors(folded.graph)["1.scale"].shape == laid


def test_the_pass_leaves_no_norm() -> None:
    program = program_of(settled(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), LIF(), nn.Flatten())))
    step = FoldIntoScale()
    step.requires(program)
    step.ensures(step(program))
    with pytest.raises(RuntimeError, match="plain-scale left"):
        step.ensures(program)
