"""Deep pre-activation residual networks in the style of the paper on PSP norm (arXiv 2203.01544), written anew in plain torch.

A postsynaptic potential (PSP) is what a neuron makes of incoming spikes: the weighted spikes as they are (LIF), or filtered over
time by a kernel (spike response model, SRM). It is divided by the root of its second raw moment before it reaches the membrane,
which an SRM neuron follows by a refractory term after each of its own spikes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

STEPS, CLASSES, INPUT_SHAPE = 4, 10, (2, 8, 8)


class Spike(torch.autograd.Function):
    """1 from the threshold on; the gradient is that of an arcus tangent."""

    @staticmethod
    def forward(ctx, above: Tensor) -> Tensor:
        ctx.save_for_backward(above)
        return (above >= 0).to(above.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * above) ** 2)


class PSPNorm(nn.Module):
    """`x / sqrt(E[x^2] + eps)` of `[B, C, H, W]`, the moment per channel; nothing is subtracted."""

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("second_moment", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        moment = self.second_moment
        if self.training:
            moment = x.pow(2).mean(dim=(0, 2, 3))
            self.second_moment = 0.9 * self.second_moment + 0.1 * moment.detach()
        return x / torch.sqrt(moment.view(1, -1, 1, 1) + self.eps)


class Neurons(nn.Module):
    """A layer that takes one step a call, and forgets what it keeps when it is told to."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.threshold = PSPNorm(channels), 1.0
        self.forget()

    def forget(self) -> None:
        raise NotImplementedError


class LIF(Neurons):
    """Leaky neurons on the normalised PSP, which is the weighted spikes themselves."""

    def forget(self) -> None:
        self.u: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        u = 0.5 * self.u + self.norm(x)
        s = Spike.apply(u - self.threshold)
        self.u = u * (1 - s)
        return s


class ExponentialSRM(Neurons):
    """Spike response neurons: the kernel `exp(-t / tau)`, the norm, and a refractory term after each spike."""

    decay, recovery = math.exp(-1 / 2.0), math.exp(-1 / 1.5)

    def forget(self) -> None:
        self.psp: Any = None
        self.refractory: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.refractory is None:
            self.refractory = torch.zeros_like(x)
        s = Spike.apply(self.norm(self.kernel(x)) + self.refractory - self.threshold)
        self.refractory = self.recovery * self.refractory - 2 * self.threshold * s
        return s

    def kernel(self, x: Tensor) -> Tensor:
        self.psp = x if self.psp is None else self.decay * self.psp + x
        return self.psp


class AlphaSRM(ExponentialSRM):
    """The same with the kernel `t / tau * exp(1 - t / tau)`, from two recursions."""

    def forget(self) -> None:
        super().forget()
        self.rise: Any = None

    def kernel(self, x: Tensor) -> Tensor:
        if self.psp is None or self.rise is None:
            self.psp, self.rise = torch.zeros_like(x), torch.zeros_like(x)
        self.rise = self.decay * self.rise + math.e / 2 * x
        self.psp = self.decay * (self.psp + self.rise)
        return self.psp


class Block(nn.Module):
    """Pre-activation: norm and neuron stand before each convolution, and what is carried on is the sum of currents."""

    def __init__(self, channels: int, neurons: type[Neurons]) -> None:
        super().__init__()
        self.act1, self.conv1 = neurons(channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.act2, self.conv2 = neurons(channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.act2(self.conv1(self.act1(x))))


class Deep(nn.Module):
    """`depth` spiking layers, an even number; it loops over the steps of an image `[B, C, H, W]` itself."""

    input_shape = INPUT_SHAPE

    def __init__(self, depth: int, neurons: type[Neurons], channels: int = 8) -> None:
        super().__init__()
        self.timesteps = STEPS
        first = nn.Conv2d(INPUT_SHAPE[0], channels, 3, padding=1, bias=False)
        second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.stem = nn.Sequential(first, neurons(channels), second)
        self.blocks = nn.Sequential(*(Block(channels, neurons) for _ in range(depth // 2 - 1)))
        self.last, self.fc = neurons(channels), nn.Linear(channels, CLASSES)

    def step(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.blocks(self.stem(x))).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.modules():
            if isinstance(layer, Neurons):
                layer.forget()
        return torch.stack([self.step(x) for _ in range(self.timesteps)]).mean(0)


class Step(Deep):
    """The same network, called for one step, by somebody who has it forget."""

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)


NEURONS: dict[str, type[Neurons]] = {"lif": LIF, "exponential": ExponentialSRM, "alpha": AlphaSRM}


def made(name: str, depth: int, kind: type[Deep] = Deep) -> Deep:
    """The network with seeded weights."""
    torch.manual_seed(0)
    return kind(depth, NEURONS[name])


def settled(net: Deep) -> Deep:
    """`net` with the moments that some passes over noise leave."""
    whole, images = Deep.forward, torch.rand(8, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for _ in range(8):
            whole(net.train(), images)
    for layer in net.modules():
        if isinstance(layer, Neurons):
            layer.forget()
    return net.eval()
