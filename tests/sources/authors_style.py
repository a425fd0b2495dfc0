"""A network in the style of the MPBN authors' code (github.com/yfguo91/MPBN), written anew: wrappers around layers that take all
time steps `[T, B, ...]`, an inner loop over `x[t]` in every neuron, and an image that the network repeats itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def spike(potential: Tensor, temperature: float) -> Tensor:
    """1 above 0.5; the gradient is that of a hyperbolic tangent, which leaves a rounding error in the value."""
    hard = torch.gt(potential, 0.5).float()
    clamped = torch.clamp(potential, 0, 1)
    soft = (torch.tanh(temperature * (clamped - 0.5)) + np.tanh(temperature * 0.5)) / (2 * np.tanh(temperature * 0.5))
    return (hard - soft).detach() + soft


class Lif(nn.Module):
    """Leaky neurons with a norm on the membrane potential."""

    def __init__(self, steps: int, channels: int) -> None:
        super().__init__()
        self.steps, self.v_th, self.temperature = steps, 1.0, 3.0
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        u, out = torch.zeros_like(x[0]), []
        for i in range(self.steps):
            u = u * 0.25 + x[i]
            fired = spike(self.bn(u) / self.v_th, self.temperature)
            u = u * (1 - fired)
            out += [fired]
        return torch.stack(out)


class OverSteps(nn.Module):
    """Applies a layer to one step after the other."""

    def __init__(self, conv: nn.Module, steps: int) -> None:
        super().__init__()
        self.conv, self.steps = conv, steps

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.conv(x[i]) for i in range(self.steps)])


class Merged(nn.Module):
    """Applies a layer to time and batch merged."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        t, b, c, h, w = x.shape
        out = self.pool(x.reshape(-1, c, h, w))
        _, c_out, h_out, w_out = out.shape
        return out.view(t, b, c_out, h_out, w_out).contiguous()


class NormOverTime(nn.Module):
    """A batch norm of three dimensions, time being one of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x.permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4).contiguous()


class Block(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int, steps: int) -> None:
        super().__init__()
        self.conv1 = Merged(nn.Conv2d(inputs, channels, 3, stride, 1, bias=False))
        self.bn1, self.relu1 = NormOverTime(channels), Lif(steps, channels)
        self.conv2, self.bn2 = Merged(nn.Conv2d(channels, channels, 3, 1, 1, bias=False)), NormOverTime(channels)
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(
                Merged(nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)),
                Merged(nn.Conv2d(inputs, channels, 1, bias=False)),
                NormOverTime(channels),
            )
        self.output_act = Lif(steps, channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out += shortcut
        return self.output_act(out)


class Res20(nn.Module):
    """The layers of `resnet20_cifar_modified`, by the authors' names."""

    def __init__(self, inputs: int, classes: int, steps: int) -> None:
        super().__init__()
        stem: list[nn.Module] = []
        for before in (inputs, 64, 64):
            stem += [Merged(nn.Conv2d(before, 64, 3, 1, 1, bias=False)), NormOverTime(64), Lif(steps, 64)]
        self.conv1 = nn.Sequential(*stem)
        self.avgpool = Merged(nn.AvgPool2d(2))
        before = 64
        for number, channels in enumerate((64, 128, 256, 512), 1):
            stride = 1 if number == 1 else 2
            blocks = Block(before, channels, stride, steps), Block(channels, channels, 1, steps)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            before = channels
        self.last = Merged(nn.AdaptiveAvgPool2d((1, 1)))
        self.fc = OverSteps(nn.Linear(512, classes), steps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.conv1(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.last(x)
        return self.fc(x.view(x.shape[0], x.shape[1], -1))


class Model(nn.Module):
    """The whole network, for images `[B, C, H, W]` and for frames `[B, T, C, H, W]`."""

    def __init__(self, inputs: int = 3, classes: int = 10, steps: int = 4) -> None:
        super().__init__()
        self.model, self.step = Res20(inputs, classes, steps), steps

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat(self.step, 1, 1, 1, 1) if len(x.shape) == 4 else x.permute([1, 0, 2, 3, 4])
        out = self.model(x)
        return out.mean([0]) if len(out.shape) == 3 else out


def event() -> nn.Module:
    """As the run of the authors' own code that is in `tests/golden`."""
    return Model(2, 11, 5)


def static() -> nn.Module:
    return Model()


class Small(nn.Module):
    """The same parts in a small network, which loops over the steps of its image by a number of its own."""

    def __init__(self, steps: int = 3) -> None:
        super().__init__()
        self.step = steps
        self.stem = nn.Sequential(Merged(nn.Conv2d(2, 6, 3, 1, 1, bias=False)), NormOverTime(6), Lif(steps, 6))
        self.block, self.last = Block(6, 8, 2, steps), Merged(nn.AdaptiveAvgPool2d((1, 1)))
        self.fc = OverSteps(nn.Linear(8, 5), steps)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat(self.step, 1, 1, 1, 1) if len(x.shape) == 4 else x.permute([1, 0, 2, 3, 4])
        return self.fc(self.last(self.block(self.stem(x))).flatten(2)).mean([0])


def small() -> nn.Module:
    return Small()
