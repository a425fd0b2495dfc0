"""Networks whose neurons are written out in their own forward convert as they are, or are refused with what stands against it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.ir.program import TimeContract
from snnconv.sources import Source
from tests.adapters.conversions import in_turn, mixed_signs, verified
from tests.networks import captured
from tests.sources.written_out import CLASSES, NETWORKS, Above, Image, Locals, T


def source_of(net: nn.Module, event: bool = False) -> Source:
    """The source of a network that nobody said anything about but what it is given: images, or frames."""
    return captured(copy.deepcopy(net), TimeContract(T, net.input_shape, event), readout="mean (default)")


def made(name: str) -> nn.Module:
    """A network of the file beside this one."""
    torch.manual_seed(0)
    return mixed_signs(NETWORKS[name]()).eval()


STEPS = {"helped": 1, "leaky read-out": 0, "batch first": 1}
"""Where the networks that are given frames have their steps; the others are given an image."""


def run(net: nn.Module, name: str, x: Tensor) -> Tensor:
    """What the network's own forward returns for images `x`, read out."""
    with torch.no_grad():
        if name in ("stepping", "graded"):
            return torch.stack([net(x) for _ in range(T)]).mean(0)
        if name in STEPS:
            x = torch.stack([x] * T, STEPS[name])
        y = net(x)
    return y.mean(1) if name in ("helped", "batch first") else y


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_equivalent_to_its_own_forward(name: str, tmp_path: Path) -> None:
    net = made(name)
    source = source_of(net)
    x = 2 * torch.rand(8, *source.program.contract.input_shape, generator=torch.Generator().manual_seed(1))
    expected = run(copy.deepcopy(net), name, x)
    torch.testing.assert_close(source.run(x), expected)
    torch.testing.assert_close(source.program.run(x), expected)
    for found in verified(source, tmp_path, x, in_turn(NETWORKS, name)):
        fires = [tally for tally in found.layers if tally.name in source.program.neurons]
        assert len(fires) == len(source.program.neurons) > 0
        assert all(0 < tally.spikes_reference < tally.values for tally in fires)


def test_what_is_kept_is_named_by_the_variable_or_the_attribute() -> None:
    source = source_of(made("helped"))
    assert list(source.program.memories) == [f"forward.states.{n}.{i}" for n in ("first", "second") for i in (0, 1)]
    assert source.notes[-1].startswith(
        "the network (Helped): taken as it is, firing at 2 places of its forward where that compares"
    )
    assert list(source_of(made("stepping")).program.memories) == ["u.0", "u.1"]


@pytest.mark.long
def test_features_are_not_taken_for_steps_by_a_layer_that_is_copied_by_its_arguments() -> None:
    source = source_of(made("batch first"))
    assert source.program.memories == {"act1.u": (12,), "act1.raised": (12,), "act2.u": (9,), "act2.raised": (9,)}
    assert list(source.program.neurons) == ["act1.fires", "act2.fires"]


def test_a_layer_whose_returned_potential_is_read_is_no_neuron_but_its_comparison_is() -> None:
    source = source_of(made("reading"))
    assert list(source.program.neurons) == ["cell1.fires", "cell2.fires"]
    assert list(source.program.memories) == ["forward.s1.0", "forward.s2.0"]


@pytest.mark.long
def test_what_a_loop_keeps_is_noted() -> None:
    note = "what is kept in a loop over time is a state (forward.spikes, forward.out, forward.best)"
    assert source_of(made("besides")).notes[-1] == note


@pytest.mark.long
def test_the_loop_of_each_layer_has_a_memory_of_its_own() -> None:
    source = source_of(made("ternary"))
    assert list(source.program.memories) == ["act1.forward.u", "act2.forward.u"]
    assert list(source.program.neurons) == ["act1.fires1", "act1.fires2", "act2.fires1", "act2.fires2"]


@pytest.mark.long
def test_a_sum_over_time_is_left_to_the_readout() -> None:
    source = source_of(made("looked up"))
    assert list(source.program.memories) == ["mem.0", "mem.3", "mem.6"]
    assert source.program.contract.readout == "sum"


class Late(Image):
    """Every second step is left out."""

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros(x.shape[0], 4, 3, 3)
        total = torch.zeros(x.shape[0], CLASSES)
        for t in range(self.timesteps):
            u = 0.5 * u + self.conv2(self.conv1(x)) * (t % 2)
            s = Above.apply(u - 0.2)
            u = u - 0.2 * s
            total = total + self.head(s.flatten(1))
        return total


@pytest.mark.long
def test_steps_that_follow_from_their_number_are_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(Refused, match=r"what neuron fires is given at step 2 does not follow from that step alone"):
        source_of(Late().eval())


class StepsSecond(nn.Module):
    """A layer that loops over `[B, T, ...]`, kept potential and all."""

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros_like(x[:, 0])
        spikes = []
        for t in range(x.shape[1]):
            u = 0.8 * u + x[:, t]
            spikes.append((u > 0.2).to(x.dtype) - (u < -0.2).to(x.dtype))
            u = u - 0.2 * spikes[-1]
        return torch.stack(spikes, 1)


class ChannelsForSteps(Image):
    """An image, whose channels such a layer takes for steps."""

    def __init__(self) -> None:
        super().__init__()
        self.act = StepsSecond()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv2(self.act(self.conv1(x))).flatten(1))


def test_channels_are_not_taken_for_the_places_of_neurons() -> None:
    torch.manual_seed(0)
    with pytest.raises(Refused, match="runs for 4 time steps, and not for one"):
        source_of(ChannelsForSteps().eval())


class Copying(Locals):
    """It copies what it starts from."""

    def forward(self, x: Tensor) -> Tensor:
        self.begin = {"u": torch.zeros(x.shape[0], 1, 1, 1)}
        return super().forward(x + copy.deepcopy(self.begin)["u"])


class OnAnotherDevice(Locals):
    """It asks for a device that is not there."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.zeros(x.shape).cuda())


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (
            Copying,
            r"reads the memory of a tensor.*\(return super.*deepcopy.*; copy a tensor by its clone\(\), and leave numpy out",
        ),
        pytest.param(
            OnAnotherDevice,
            r"CUDA.*\.cuda\(\).*; leave other devices out, and let what is made follow the input",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there"),
        ),
    ],
)
def test_code_that_does_not_run_or_trace_is_named(net: type[Locals], words: str) -> None:
    with pytest.raises(Refused, match=words):
        source_of(net().eval())


class Plain(Image):
    """It compares, and keeps nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.conv2((self.conv1(x) > 0.1).float()) > 0.1).float().flatten(1))


def test_a_network_that_keeps_nothing_has_no_neuron() -> None:
    with pytest.raises(Refused, match="has no spiking neuron"):
        source_of(Plain().eval())
