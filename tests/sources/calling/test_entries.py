"""Tensors that hold an entry for each time step are found by what they do, and the entry of the step is taken at each step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from snnconv.errors import Refused
from tests.adapters.conversions import in_turn, loaded, mixed_signs, verified

T = 4


class Lif(nn.Module):
    """Leaky neurons that walk over `[T, B, ...]`."""

    def forward(self, x: Tensor) -> Tensor:
        u, spikes = torch.zeros_like(x[0]), []
        for t in range(x.shape[0]):
            u = 0.5 * u + x[t]
            s = (u >= 0.3).to(x.dtype)
            spikes.append(s)
            u = u * (1 - s)
        return torch.stack(spikes)


class Merged(nn.Module):
    """A layer without time, on `[T, B, ...]`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.flatten(0, 1).contiguous())
        return y.view(x.shape[0], x.shape[1], *y.shape[1:])


class Tebn(nn.Module):
    """One norm for all steps, and a factor for each, as the authors of TEBN write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = Merged(nn.BatchNorm2d(channels))
        self.p = nn.Parameter(torch.ones(T, 1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x) * self.p


class Transposed(Tebn):
    """The same behind a transpose."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(x).transpose(0, 1).contiguous()
        return (y * self.p.transpose(0, 1)).transpose(0, 1).contiguous()


class Tab(nn.Module):
    """A norm and a factor for each step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_list = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(T))
        self.p = nn.Parameter(torch.ones(T))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.bn_list[t](x[t]) * self.p[t] ** 2 for t in range(x.shape[0])])


class Moving(Tab):
    """The same, with its factors and its list of norms moved to the device of the input in every call, as the authors do."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.time_steps = T

    def forward(self, x: Tensor) -> Tensor:
        self.p = self.p.to(x.device)  # type: ignore[assignment]
        self.bn_list = nn.ModuleList([self.bn_list[t].to(x.device) for t in range(self.time_steps)])
        return super().forward(x)


class PerChannel(nn.Module):
    """A gain and a bias of each step and channel, as many channels as steps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(T, 1, channels, 1, 1)), nn.Parameter(torch.zeros(T, 1, channels, 1, 1))
        self.plain = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + self.bias + self.plain


class Net(nn.Module):
    def __init__(
        self, norm: Callable[[int], nn.Module], repeats: bool = True, node: Callable[[], nn.Module] = Lif, channels: int = T
    ) -> None:
        super().__init__()
        self.T, self.repeats = T, repeats
        self.conv1, self.bn1, self.lif1 = Merged(nn.Conv2d(2, channels, 3, padding=1)), norm(channels), node()
        self.conv2, self.bn2, self.lif2 = Merged(nn.Conv2d(channels, channels, 3, padding=1)), norm(channels), node()
        self.fc = nn.Linear(channels * 25, 10)

    def forward(self, x: Tensor) -> Tensor:
        if self.repeats:
            x = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        y = self.lif1(self.bn1(self.conv1(x)))
        y = self.lif2(self.bn2(self.conv2(y)))
        return self.fc(y.flatten(2)).mean(0)


class Looping(nn.Module):
    """A neuron that takes one step a call, and a gain of each step in the loop of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif, self.fc = nn.Conv2d(2, 6, 3), Lif(), nn.Linear(54, 10)
        self.gains = nn.Parameter(torch.ones(T, 6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        current = self.conv(x)
        currents = torch.stack([current * self.gains[t] for t in range(T)])
        return self.fc(self.lif(currents).flatten(2)).mean(0)


class Embedded(nn.Module):
    """A learned embedding of time, added to the current."""

    def __init__(self) -> None:
        super().__init__()
        self.T = T
        self.fc1, self.lif, self.fc2 = nn.Linear(50, 12), Lif(), nn.Linear(12, 10)
        self.time = nn.Embedding(T, 12)

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x.flatten(1))
        return self.fc2(self.lif(torch.stack([current + self.time.weight[t] for t in range(self.T)]))).mean(0)


class Blocks(nn.Module):
    """As many layers in a list as steps, one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.T = T
        self.encoder = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(T))
        self.conv, self.lif, self.fc = Merged(nn.Conv2d(2, 6, 3)), Lif(), nn.Linear(54, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.encoder:
            x = layer(x)
        return self.fc(self.lif(self.conv(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1))).flatten(2)).mean(0)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "tebn": lambda: Net(Tebn),
    "tebn_of_frames": lambda: Net(Tebn, repeats=False),
    "tebn_transposed": lambda: Net(Transposed),
    "tab": lambda: Net(Tab),
    "tab_of_frames": lambda: Net(Tab, repeats=False),
    "tab_moving": lambda: Net(Moving),
    "shorter_frames": lambda: Net(Tebn, False, lambda: neuron.LIFNode(v_threshold=0.3, step_mode="m")),
    "per_channel": lambda: Net(PerChannel),
    "looping": Looping,
    "embedded": Embedded,
    "blocks": Blocks,
}


def made(name: str) -> nn.Module:
    """A network whose entries differ from step to step."""
    torch.manual_seed(0)
    net = mixed_signs(NETWORKS[name]())
    with torch.no_grad():
        for parameter_name, parameter in net.named_parameters():
            if parameter_name.rpartition(".")[2] in ("p", "gain", "gains", "bias") and len(parameter) == T:
                parameter += 0.3 * torch.randn_like(parameter)
    net.eval()
    net.input_shape = (2, 5, 5)  # type: ignore[assignment]
    return net


def __getattr__(name: str) -> Callable[[], nn.Module]:
    if name not in NETWORKS:
        raise AttributeError(name)
    return lambda: made(name)


def shown(name: str) -> dict[str, str]:
    return {"input": "event"} if name.endswith("frames") else {}


def inputs(name: str) -> Tensor:
    shape = (20, T, 2, 5, 5) if name.endswith("frames") else (20, 2, 5, 5)
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(1))


def own(net: nn.Module, x: Tensor, name: str) -> Tensor:
    functional.reset_net(net)
    with torch.no_grad():
        return net(x.transpose(0, 1) if name.endswith("frames") else x)


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_with_an_entry_for_each_step_is_equivalent(name: str, tmp_path: Path) -> None:
    net, x = made(name), inputs(name)
    source = loaded(copy.deepcopy(net), f"{__name__}:{name}", tmp_path, **shown(name))
    assert source.program.contract.timesteps == T
    torch.testing.assert_close(source.program.run(x), own(net, x, name), rtol=1e-5, atol=1e-6)
    for found in verified(source, tmp_path, x, in_turn(NETWORKS, name)):
        assert all(0 < tally.spikes_reference < tally.values for tally in found.layers[:-1]), found.layers


def test_fewer_steps_than_entries_are_run(tmp_path: Path) -> None:
    source = loaded(made("shorter_frames"), f"{__name__}:shorter_frames", tmp_path, input="event", timesteps=3)
    verified(source, tmp_path, inputs("shorter_frames")[:, :3], (("net.onnx", "sequence"),))


def test_more_steps_than_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"bn1 \(Tebn\) holds constants for 4 time steps, not for 5"):
        loaded(made("shorter_frames"), f"{__name__}:shorter_frames", tmp_path, input="event", timesteps=5)
