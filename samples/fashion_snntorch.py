"""A small convolutional network of snntorch for Fashion-MNIST, built as its documentation builds them.

Its forward is one time step: it is handed the membrane potentials of its `Leaky` layers and returns them after its output. The
first layer learns its decay, the second its threshold.
"""

from __future__ import annotations

import snntorch
import torch
from torch import Tensor, nn


class FashionNet(nn.Module):
    """Two spiking blocks and a linear readout."""

    timesteps = 4
    input_shape = (1, 28, 28)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.lif1 = snntorch.Leaky(beta=0.5, learn_beta=True)
        self.conv2, self.norm2 = nn.Conv2d(8, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.lif2 = snntorch.Leaky(beta=0.5, learn_threshold=True, reset_mechanism="zero")
        self.pool, self.readout = nn.MaxPool2d(2), nn.Linear(32 * 7 * 7, 10)

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One time step: images `[B, 1, 28, 28]` and membranes in, logits `[B, 10]` and membranes out."""
        spk1, mem1 = self.lif1(self.norm1(self.conv1(x)), mem1)
        spk2, mem2 = self.lif2(self.norm2(self.conv2(self.pool(spk1))), mem2)
        y = self.readout(self.pool(spk2).flatten(1))
        return y, mem1, mem2


def leaky() -> FashionNet:
    """An untrained network."""
    return FashionNet()


def logits(net: FashionNet, x: Tensor) -> Tensor:
    """The logits `[B, 10]` of images `[B, 1, 28, 28]`, averaged over time, from a fresh state."""
    mem1, mem2, outputs = net.lif1.reset_mem(), net.lif2.reset_mem(), []
    for _ in range(net.timesteps):
        y, mem1, mem2 = net(x, mem1, mem2)
        outputs.append(y)
    return torch.stack(outputs).mean(0)
