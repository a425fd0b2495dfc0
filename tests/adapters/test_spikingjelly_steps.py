"""Networks of spikingjelly that take all time steps in one call, and its layers that know time, in the form of one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.sources import Source
from tests.adapters.conversions import in_turn, loaded, mixed_signs, trained, verified

T = 8
Made = Callable[[], nn.Module]


def lif() -> nn.Module:
    return neuron.LIFNode(2.0, v_threshold=0.3)


def mpbn() -> nn.Module:
    return neuron.MPBNLIFNode(2.0, v_threshold=0.3, out_channels=6)


class Written(nn.Module):
    """Code of the user's own between layers of all steps `[T, B, ...]`: a residual sum, a flatten, no read-out."""

    def __init__(self, norm: Callable[[int], nn.Module] = layer.BatchNorm2d, node: Made = mpbn) -> None:
        super().__init__()
        self.conv1, self.bn1, self.sn1 = layer.Conv2d(2, 6, 3, padding=1), norm(6), node()
        self.conv2, self.bn2, self.sn2 = layer.Conv2d(6, 6, 3, padding=1), norm(6), node()
        self.pool, self.fc = layer.MaxPool2d(2), layer.Linear(54, 10)
        functional.set_step_mode(self, "m")

    def forward(self, x_seq: Tensor) -> Tensor:
        first = self.sn1(self.bn1(self.conv1(x_seq)))
        second = self.sn2(self.bn2(self.conv2(first)) + first)
        return self.fc(self.pool(second).flatten(2))


class Reading(Written):
    """The same, and reads out by itself."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return super().forward(x_seq).mean(0)


class Spreading(Written):
    """The same, as the tutorials have it: one image in, shown T times, the mean over time out."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.T = steps

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)).mean(0)


def in_containers() -> nn.Module:
    return nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)),
        neuron.LIFNode(2.0, v_threshold=0.3, step_mode="m"),
        layer.MultiStepContainer(nn.AvgPool2d(2), neuron.IFNode(0.4), nn.Flatten()),
        layer.SeqToANNContainer(nn.Linear(24, 10)),
    )


def single(norm: nn.Module) -> nn.Module:
    return nn.Sequential(layer.Conv2d(2, 6, 3), norm, lif(), layer.Flatten(), layer.Linear(96, 10))


NETWORKS: dict[str, Made] = {
    "written": Written,
    "reading": Reading,
    "spreading": lambda: Spreading(T),
    "contained": in_containers,
    "threshold_dependent": lambda: Written(lambda c: layer.ThresholdDependentBatchNorm2d(1.0, 0.3, c)),
    "temporal_effective": lambda: Written(lambda c: layer.TemporalEffectiveBatchNorm2d(T, c)),
    "through_time": lambda: Written(lambda c: layer.BatchNormThroughTime2d(T, c), lif),
    "through_time_single": lambda: single(layer.BatchNormThroughTime2d(T, 6)),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    net: Any = mixed_signs((NETWORKS | OTHERS)[name]() if name not in MIXING else MIXING[name][0]())
    net.timesteps, net.input_shape = T, (2, 6, 6)
    return net


def __getattr__(name: str) -> Made:
    if name not in NETWORKS | OTHERS | MIXING:
        raise AttributeError(name)
    return lambda: made(name)


def run(name: str) -> Callable[[nn.Module, Tensor], Tensor]:
    def of(net: nn.Module, x: Tensor) -> Tensor:
        functional.reset_net(net)
        if name == "spreading":
            return net(x)
        if name.endswith("single"):
            return torch.stack([net(x) for _ in range(T)]).mean(0)
        y = net(x.expand(T, *x.shape))
        return y if name == "reading" else y.mean(0)

    return of


def images(count: int = 20) -> Tensor:
    return 2 * torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def source_of(name: str, folder: Path) -> Source:
    return loaded(trained(made(name), run(name), images()), f"{__name__}:{name}", folder)


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_spike_is_that_of_the_forward_over_all_steps(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(source.run(images()), run(name)(source.module, images()), rtol=1e-6, atol=1e-6)

    for found in verified(source, tmp_path, images(), in_turn(NETWORKS, name)):
        assert all(0 < tally.spikes_reference < tally.values for tally in found.layers[:-1]), found.layers


def test_a_graph_of_one_step_has_no_time_dimension_between_layers(tmp_path: Path) -> None:
    graph = source_of("contained", tmp_path).program.graph.graph
    assert sum(node.target is torch.ops.aten.squeeze.dim for node in graph.nodes) <= 2, graph


def test_constants_for_fewer_steps_than_asked_for_are_refused(tmp_path: Path) -> None:
    torch.save(made("temporal_effective").state_dict(), tmp_path / "net.pth")
    with pytest.raises(Refused, match="TemporalEffectiveBatchNorm2d holds constants for 8 time steps, not for 9"):
        loaded(made("temporal_effective"), f"{__name__}:temporal_effective", tmp_path, timesteps=9)


class Attending(Written):
    """Attention over the time steps, between two layers."""

    def forward(self, x_seq: Tensor) -> Tensor:
        y = self.sn1(self.bn1(self.conv1(x_seq)))
        flat = y.flatten(2).transpose(0, 1)
        mixed = torch.softmax(flat @ flat.transpose(1, 2), -1) @ flat
        y = mixed.transpose(0, 1).reshape(y.shape)
        return self.fc(self.pool(self.sn2(self.bn2(self.conv2(y)))).flatten(2))


class Summing(Written):
    def forward(self, x_seq: Tensor) -> Tensor:
        return super().forward(x_seq).sum(0)


class Looking(Written):
    """Compares each step with the mean over all of them."""

    def forward(self, x_seq: Tensor) -> Tensor:
        y = self.sn1(self.bn1(self.conv1(x_seq)))
        y = y - y.mean(0, keepdim=True)
        return self.fc(self.pool(self.sn2(self.bn2(y))).flatten(2))


class LoopingAndLooking(Looking):
    """The same behind a loop over the steps."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return super().forward(torch.stack([0.5 * x for x in x_seq]))


OTHERS: dict[str, Made] = {"summing": Summing}
MIXING: dict[str, tuple[Made, str]] = {
    "attending": (Attending, r"mixes time steps, first in test_spikingjelly_steps.py line \d+ \(mixed = torch.softmax"),
    "looking": (Looking, r"mixes time steps, first in test_spikingjelly_steps.py line \d+ \(y = y - y.mean"),
    "looping": (LoopingAndLooking, r"mixes time steps, first in test_spikingjelly_steps.py line \d+ \(y = y - y.mean"),
    "parallel": (lambda: Written(node=lambda: neuron.PSN(T)), r"mixes time steps, in what comes after bn1 \(BatchNorm2d\)"),
    "temporal": (
        lambda: nn.Sequential(layer.Conv2d(2, 6, 3, step_mode="m"), Over(), layer.Flatten(step_mode="m"), layer.Linear(96, 10)),
        r"mixes time steps, first in 1.conv \(Conv3d\)",
    ),
}


class Over(nn.Module):
    """A convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.conv(x_seq.permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", MIXING)
def test_a_network_that_mixes_time_steps_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=MIXING[name][1]):
        loaded(made(name), f"{__name__}:{name}", tmp_path)


def test_how_a_network_reads_out_by_itself_is_found(tmp_path: Path) -> None:
    source = loaded(made("summing"), f"{__name__}:summing", tmp_path)
    assert source.settings["readout"] == "sum (network)"
    verified(source, tmp_path, images(), (("n.onnx", "sequence"),))


def test_a_readout_that_the_network_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="reads out by itself, by sum, not by last; give --readout sum"):
        loaded(made("summing"), f"{__name__}:summing", tmp_path, readout="last")
