"""Small networks for tests: every kind of neuron, norm placement and topology, with statistics as training leaves them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.capture import capture
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import Origin, SpikingProgram, TimeContract
from snnconv.nn import BNTT, LIF, MPBN, TEBN, neurons
from snnconv.sources import Source
from snnconv.sources.capturing import capture_source

SHAPE = (2, 8, 8)


class Residual(nn.Module):
    """Conv, norm, neuron; a residual block with a norm on the sum; pooling; a linear read-out."""

    timesteps = 4
    input_shape = SHAPE

    def __init__(self, first: LIF, second: LIF, third: LIF) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), first
        self.conv2, self.bn2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), second
        self.conv3, self.sum_norm, self.act3 = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), third
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(6 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(x)))
        z = self.act3(self.sum_norm(self.conv3(y) + x))
        return self.head(self.pool(z).flatten(1))


@torch.library.custom_op("snnconv_tests::third", mutates_args=())
def third(x: Tensor) -> Tensor:
    return x / 3


@third.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Foreign(nn.Module):
    """Uses an operator that torch does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.act = LIF()

    def forward(self, x: Tensor) -> Tensor:
        return third(self.act(x).flatten(1))


def trained(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give every norm the statistics and affine parts of a trained network: both signs of gamma, a few zeros."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(t: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(t.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(uniform(module.weight, -1, 1) * 1.5 / module.weight[0].numel() ** 0.5)
                if module.bias is not None:
                    module.bias.copy_(uniform(module.bias, -0.2, 0.2))
            if isinstance(module, nn.BatchNorm2d | MPBN):
                module.running_mean.copy_(uniform(module.running_mean, -0.3, 0.3))
                module.running_var.copy_(uniform(module.running_var, 0.2, 2.0))
                if module.weight is not None:
                    module.weight.copy_(uniform(module.weight, -0.4, 1.6))
                    module.weight.view(-1)[0] = 0.0
                    module.bias.copy_(uniform(module.bias, -0.3, 0.8))
    return net.eval()


def per_channel() -> nn.Module:
    """Hard reset, membrane norm per channel, both signs of gamma."""
    return trained(Residual(LIF(norm=MPBN(6)), LIF(norm=MPBN(6)), LIF(norm=MPBN(6))))


def per_element() -> nn.Module:
    """Soft reset and hard reset to a value, membrane norm per element, one without affine part."""
    shape = (6, 8, 8)
    first = LIF(leak=0.5, threshold=0.4, reset="soft", norm=MPBN(shape))
    second = LIF(leak=0.9, v_reset=0.1, strict=False, norm=MPBN(shape))
    return trained(Residual(first, second, LIF(leak=1.0, threshold=0.6, norm=MPBN(shape, affine=False))), seed=1)


def plain() -> nn.Module:
    """Neurons without membrane norm: LIF, IF with soft reset, non-strict."""
    first = LIF(leak=torch.linspace(0.1, 0.9, 6).view(6, 1, 1), threshold=0.3)
    return trained(Residual(first, LIF(leak=1.0, threshold=0.5, reset="soft"), LIF(threshold=0.2, strict=False)), seed=2)


class Steps(nn.Module):
    """A norm per step in front of a neuron that carries a normalised potential, and another behind one, which nothing takes."""

    timesteps = 4
    input_shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.act1 = nn.Conv2d(2, 6, 3, padding=1), BNTT(6, 4), LIF(norm=MPBN(6), carry_normalised=True)
        self.conv2, self.act2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), LIF(threshold=0.3), TEBN(6, 4)
        self.conv3, self.act3, self.head = nn.Conv2d(6, 6, 1), LIF(threshold=0.2, reset="soft"), nn.Linear(6 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.act2(self.conv2(self.act1(self.norm1(self.conv1(x))))))
        return self.head(self.act3(self.conv3(y)).flatten(1))


def steps() -> nn.Module:
    """Constants that change from step to step."""
    net = trained(Steps(), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for norm in (net.norm1, net.norm2):
            norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) * 1.6 - 0.3)
            norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.3)
            norm.running_mean.copy_(torch.rand(norm.running_mean.shape, generator=generator) * 0.6 - 0.3)
        net.norm2.bias.copy_(torch.rand(6, generator=generator) * 0.6)
        net.norm2.scale.copy_(torch.tensor([1.2, 0.7, -0.4, 1.6]))
    return net


NETWORKS = {"per_channel": per_channel, "per_element": per_element, "plain": plain}


class Named(nn.Module):
    """A network whose neuron, with its membrane norm, has the name that is given."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.neuron, self.head = name, nn.Flatten()
        self.add_module(name, LIF(norm=MPBN(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(getattr(self, self.neuron)(x))


def source_of(
    net: nn.Module, timesteps: int = 4, event: bool = False, readout: str = "mean", shape: tuple[int, ...] = SHAPE
) -> Source:
    """A source as `load_source` gives it, without a file."""
    net.requires_grad_(False)
    table: dict[str, Neuron] = {name: neuron.neuron() for name, neuron in neurons(net).items()}
    contract = TimeContract(timesteps, shape, event, readout)
    return Source(capture(net, table, contract, Origin("tests.networks", "0" * 64)), net)


def captured(net: nn.Module, contract: TimeContract, **settings: str) -> Source:
    """The same for a network whose layers have adapters or are found, which may call them over time in any way."""
    return capture_source(net, contract, Origin("tests", "0" * 64, settings))


def program_of(net: nn.Module, **contract: object) -> SpikingProgram:
    """The captured program of a network."""
    return source_of(net, **contract).program


def inputs(source: Source, samples: int = 6, seed: int = 0) -> Tensor:
    """Seeded input that fits the source's contract."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(source.program.contract.batch_shape(samples), generator=generator)
