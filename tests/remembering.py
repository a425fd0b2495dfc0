"""Networks that keep more than potentials from step to step, in the styles that people write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from snnconv.ir.program import TimeContract
from snnconv.nn import LIF
from snnconv.sources import Source
from tests.networks import captured

T, INPUTS, WIDTH, CLASSES = 5, 6, 8, 4


class Remembering(nn.Module):
    """`fc`, a neuron and a head; what is kept is None before the first step."""

    def __init__(self, inputs: int = INPUTS) -> None:
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(inputs, WIDTH), LIF(0.5, 0.3), nn.Linear(WIDTH, CLASSES)
        self.kept: Any = None


class Feedback(Remembering):
    """The spikes of the step before, fed back through a layer without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.back = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        if self.kept is not None:
            x = x + self.back(self.kept)
        self.kept = self.act(x)
        return self.head(self.kept)


class Delay(Remembering):
    """The input of the step before beside that of this one: a memory without a cycle."""

    def __init__(self) -> None:
        super().__init__(2 * INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        before = torch.zeros_like(x) if self.kept is None else self.kept
        self.kept = x
        return self.head(self.act(self.fc(torch.cat([x, before], 1))))


class Delayed(Remembering):
    """The output reads the spikes of the step before."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.act(self.fc(x))
        before = torch.zeros_like(spikes) if self.kept is None else self.kept
        self.kept = spikes
        return self.head(spikes + 0.5 * before)


class Older(Remembering):
    """The spikes of two steps before, fed back: what a step leaves is first read two steps later."""

    def __init__(self) -> None:
        super().__init__()
        self.back = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        last, older = self.kept or (torch.zeros_like(x), torch.zeros_like(x))
        spikes = self.act(x - self.back(older))
        self.kept = 0.5 * last + spikes, 0.9 * last
        return self.head(spikes)


class Gated(Remembering):
    """A gated unit behind a neuron, its hidden state an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.cell(self.act(self.fc(x)), self.kept)
        return self.head(self.kept)


class Returned(Remembering):
    """The output is what is kept."""

    def forward(self, x: Tensor) -> Tensor:
        before = 0.0 if self.kept is None else self.kept
        self.kept = 0.7 * before + self.head(self.act(self.fc(x)))
        return self.kept


class Long(Remembering):
    """A long short-term memory in front of a neuron, its two states a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(INPUTS, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.cell(x, self.kept)
        return self.head(self.act(self.fc(self.kept[0])))


class Adaptive(Remembering):
    """What has fired lately takes from the current: an adaptive threshold, written as it is."""

    def forward(self, x: Tensor) -> Tensor:
        trace = 0.0 if self.kept is None else self.kept
        spikes = self.act(self.fc(x) - 0.4 * trace)
        self.kept = 0.8 * trace + spikes
        return self.head(spikes)


class Pair(Remembering):
    """Two neurons that feed each other, one step late."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.back, self.forth = LIF(0.7, 0.4), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.kept = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        mine = self.act(self.fc(x) + self.kept)
        self.kept = self.back(self.other(self.forth(mine)))
        return self.head(mine)


class Potential(Remembering):
    """The potential of the step before, kept and read."""

    def __init__(self) -> None:
        super().__init__()
        self.act = neuron.LIFNode(v_threshold=0.3)

    def forward(self, x: Tensor) -> Tensor:
        before = 0.0 if self.kept is None else self.kept
        spikes = self.act(self.fc(x) + 0.2 * before)
        self.kept = self.act.v
        return self.head(spikes)


def sequence(*layers: nn.Module, mode: str = "s") -> nn.Module:
    net = nn.Sequential(*layers)
    functional.set_step_mode(net, mode)
    return net


def lateral(y: Tensor, x: Tensor) -> Tensor:
    return x - 0.5 * x * y


def lif() -> nn.Module:
    return neuron.LIFNode(v_threshold=0.3)


def element_wise(mode: str) -> nn.Module:
    around = layer.ElementWiseRecurrentContainer(lif(), lateral)
    return sequence(layer.Linear(INPUTS, WIDTH), around, layer.Linear(WIDTH, CLASSES), mode=mode)


def linear(mode: str) -> nn.Module:
    around = layer.LinearRecurrentContainer(lif(), WIDTH, WIDTH)
    return sequence(layer.Linear(INPUTS, WIDTH), around, layer.Linear(WIDTH, CLASSES), mode=mode)


def filtered(mode: str) -> nn.Module:
    layers = (layer.Linear(INPUTS, WIDTH), lif(), layer.SynapseFilter(3.0, learnable=True), layer.Linear(WIDTH, CLASSES), lif())
    return sequence(*layers, mode=mode)


def convolution() -> nn.Module:
    """A loop in the middle of a convolutional network, its norm in front."""
    around = layer.ElementWiseRecurrentContainer(lif(), lateral)
    layers = (nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), around, nn.Conv2d(4, 3, 1), lif())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(18, CLASSES))


FACTORIES: dict[str, Callable[[], nn.Module]] = {
    "feedback": Feedback,
    "delay": Delay,
    "delayed": Delayed,
    "older": Older,
    "gated": Gated,
    "long": Long,
    "returned": Returned,
    "adaptive": Adaptive,
    "pair": Pair,
    "potential": Potential,
    "element_wise": lambda: element_wise("s"),
    "element_wise_all_steps": lambda: element_wise("m"),
    "linear": lambda: linear("s"),
    "linear_all_steps": lambda: linear("m"),
    "filtered": lambda: filtered("s"),
    "filtered_all_steps": lambda: filtered("m"),
    "convolution": convolution,
}


def made(name: str) -> nn.Module:
    """A network with seeded weights."""
    torch.manual_seed(0)
    net = FACTORIES[name]()
    with torch.no_grad():
        for weight in net.parameters():
            weight *= 2
    return net.eval()


def source_of(net: nn.Module, event: bool = False, readout: str = "mean") -> Source:
    """The source of a network; frames where it takes all steps at once."""
    event = event or any(getattr(inner, "step_mode", "s") == "m" for inner in net.modules())
    return captured(net, TimeContract(T, (INPUTS,), event, readout))


def inputs(source: Source, count: int = 16) -> Tensor:
    return 2 * torch.rand(source.program.contract.batch_shape(count), generator=torch.Generator().manual_seed(1)) - 0.5
