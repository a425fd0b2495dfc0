"""Batch norm after a convolution or a linear layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.fold.linear_norm import FoldLinearNorm
from snnconv.fold.norm_calls import batch_norms
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.nn import LIF, MPBN
from tests.fold.test_fold import assert_constants_are_rounded_once, assert_folds, assert_folds_alike, settled
from tests.networks import program_of

LAYERS: dict[str, tuple[tuple[int, ...], Callable[[], tuple[nn.Module, nn.Module]]]] = {
    "bias": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))),
    "no bias": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4))),
    "groups": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4))),
    "stride and dilation": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3, stride=2, dilation=2, padding=2), nn.BatchNorm2d(4))),
    "same": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, (3, 1), padding="same"), nn.BatchNorm2d(4))),
    "reflect": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4))),
    "conv1d": ((2, 6), lambda: (nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4))),
    "conv1d same": ((2, 6), lambda: (nn.Conv1d(2, 4, 3, padding="same", bias=False), nn.BatchNorm1d(4))),
    "conv3d": ((2, 3, 3, 3), lambda: (nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4))),
    "linear": ((6,), lambda: (nn.Linear(6, 4), nn.BatchNorm1d(4))),
    "linear no bias": ((6,), lambda: (nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4))),
    "no affine": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False))),
    "large eps": ((2, 6, 6), lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=0.5))),
}


class Wired(nn.Module):
    """Named layers and a forward of its own."""

    def __init__(self, wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.wiring = wiring
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(self, x)


def into(folded: SpikingProgram) -> dict[str, str]:
    """Where each norm went."""
    return {site.path: site.into for site in folded.sites}


@pytest.mark.parametrize("name", LAYERS)
def test_norm_after_a_linear_operator_goes_into_its_weights(name: str) -> None:
    shape, layers = LAYERS[name]
    folded = assert_folds(nn.Sequential(*layers(), LIF(), nn.Flatten()), shape)
    assert into(folded) == {"1": "0"} and folded.neurons["2"].gain is None
    assert set(tensors(folded.graph)) == {"0.weight", "0.bias"}


def test_folded_weights_are_scale_times_weights() -> None:
    conv, norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
    folded = fold(program_of(settled(nn.Sequential(conv, norm, LIF(), nn.Flatten()))))
    held = tensors(folded.graph)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    assert torch.equal(held["0.weight"], (conv.weight.double() * scale.view(-1, 1, 1, 1)).float())
    bias = (conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    assert torch.allclose(held["0.bias"], bias.float(), rtol=1e-6)


def test_zero_variance_leaves_eps_alone_under_the_root() -> None:
    net = settled(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), LIF(), nn.Flatten()))
    net[1].running_var.zero_()
    program = program_of(net)
    folded = fold(program)
    ratio = tensors(folded.graph)["0.weight"] / tensors(program.graph)["0.weight"]
    expected = (net[1].weight / math.sqrt(1e-5)).view(-1, 1, 1, 1).expand_as(ratio)
    assert torch.allclose(ratio, expected, rtol=1e-5)


def two_norms_in_a_row() -> SpikingProgram:
    layers = (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3), LIF(norm=MPBN(3)), nn.Flatten())
    return program_of(settled(nn.Sequential(*layers)))


def test_norms_in_a_row_go_into_one_layer() -> None:
    program = two_norms_in_a_row()
    assert_folds_alike(program)
    assert into(fold(program)) == {"1": "0", "2": "0", "3": "threshold"}


def test_norms_in_a_row_are_rounded_once() -> None:
    assert_constants_are_rounded_once(fold(two_norms_in_a_row()))


def test_a_second_norm_stays_out_of_weights_that_a_neuron_reads_through_the_first() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.norm1(m.conv(x))
        return (m.a(y) + m.b(m.norm2(y))).flatten(1)

    layers = {"norm1": nn.BatchNorm2d(3), "norm2": nn.BatchNorm2d(3), "a": LIF(), "b": LIF(reset="soft")}
    assert into(assert_folds(Wired(wiring, conv=nn.Conv2d(2, 3, 3), **layers))) == {"norm1": "conv", "norm2": "b"}


def test_weights_that_something_else_reads_through_are_left_alone() -> None:
    net = Wired(
        lambda m, x: m.act(m.norm(c := m.conv(x))).flatten(1) + c.flatten(1),
        conv=nn.Conv2d(2, 3, 3),
        norm=nn.BatchNorm2d(3),
        act=LIF(),
    )
    folded = assert_folds(net)
    assert into(folded) == {"norm": "act"}
    assert torch.equal(tensors(folded.graph)["conv.weight"], net.conv.weight)


def test_two_norms_of_one_output_do_not_go_into_its_weights() -> None:
    net = Wired(
        lambda m, x: (m.a(m.norm1(c := m.conv(x))) + m.b(m.norm2(c))).flatten(1),
        conv=nn.Conv2d(2, 3, 3),
        norm1=nn.BatchNorm2d(3),
        norm2=nn.BatchNorm2d(3),
        a=LIF(),
        b=LIF(reset="soft"),
    )
    assert into(assert_folds(net)) == {"norm1": "a", "norm2": "b"}


def shared_conv(third: bool) -> Wired:
    """One conv called twice, each time with a norm of its own, and once more without one."""

    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.b(m.norm2(m.conv(m.a(m.norm1(m.conv(x))))))
        return (m.conv(y) if third else y).flatten(1)

    norms = {"norm1": nn.BatchNorm2d(2), "norm2": nn.BatchNorm2d(2)}
    return Wired(wiring, conv=nn.Conv2d(2, 2, 3, padding=1), a=LIF(), b=LIF(), **norms)


@pytest.mark.parametrize("third", [True, False], ids=["and one plain call", "only"])
def test_each_call_of_a_shared_layer_gets_weights_of_its_own(third: bool) -> None:
    net = shared_conv(third)
    folded = assert_folds(net)
    assert into(folded) == {"norm1": "conv", "norm2": "conv"}
    held = tensors(folded.graph)
    assert len(held) == (6 if third else 4)
    assert any(torch.equal(tensor, net.conv.weight) for tensor in held.values()) == third


def test_one_norm_after_two_layers_goes_into_both() -> None:
    net = Wired(
        lambda m, x: m.b(m.norm(m.conv2(m.a(m.norm(m.conv1(x)))))).flatten(1),
        conv1=nn.Conv2d(2, 3, 3),
        conv2=nn.Conv2d(3, 3, 3),
        norm=nn.BatchNorm2d(3),
        a=LIF(),
        b=LIF(),
    )
    folded = assert_folds(net)
    assert [(site.path, site.into) for site in folded.sites] == [("norm", "conv1"), ("norm", "conv2")]


def test_linear_layer_on_another_axis_than_the_norm_keeps_its_weights() -> None:
    layers = (nn.Linear(6, 5), nn.BatchNorm1d(2), LIF(), nn.Flatten())
    assert into(assert_folds(nn.Sequential(*layers), (2, 6))) == {"1": "2"}


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_has_its_output_channels_second(groups: int) -> None:
    layers = (nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 6, 2, groups=groups), nn.BatchNorm2d(6), LIF(), nn.Flatten())
    assert into(assert_folds(nn.Sequential(*layers))) == {"2": "1"}


def test_the_pass_takes_what_follows_a_layer_and_leaves_the_rest() -> None:
    layers = (nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.AvgPool2d(2), nn.BatchNorm2d(3), LIF(), nn.Flatten())
    program = program_of(settled(nn.Sequential(*layers)))
    step = FoldLinearNorm()
    step.requires(program)
    folded = step(program)
    step.ensures(folded)
    assert into(folded) == {"2": "1"} and len(batch_norms(folded.graph.graph)) == 2
    with pytest.raises(RuntimeError, match=r"linear-norm left \['2'\]"):
        step.ensures(program)


def test_a_computed_weight_takes_a_norm_and_has_the_name_of_its_layer() -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3))
    folded = assert_folds(nn.Sequential(conv, nn.BatchNorm2d(3), LIF(), nn.Flatten()))
    assert into(folded) == {"1": "0"} and set(tensors(folded.graph)) == {"0.weight", "0.bias"}


class Functional(nn.Module):
    """A convolution with a parameter of the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(3, 2, 3, 3))
        self.norm, self.act = nn.BatchNorm2d(3), LIF()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(nn.functional.conv2d(x, self.kernel))).flatten(1)


def test_weights_of_the_network_itself_take_the_norm() -> None:
    assert len(assert_folds(Functional()).sites) == 1
