"""The MPBN authors' computation of `resnet20_cifar_modified`, over all time steps at once, for comparison in benchmarks.

Written from the published equations (arXiv 2308.08359): stateless layers run on `[B * T, ...]`, the norm after a convolution is a
BatchNorm3d on a `[B, C, T, H, W]` view, and each neuron loops over time with its membrane norm and a tanh surrogate gradient.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from snnconv.sources import SourceOptions
from snnconv.sources.mpbn import ARCHITECTURES, Layers
from snnconv.sources.official import recognise

TIMESTEPS = 4


class _Merged(nn.Module):
    """A stateless layer on `[B, T, ...]`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, (-1, TIMESTEPS))


class _Norm(nn.Module):
    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(norm.num_features)
        self.norm.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class _Neuron(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(len(norm.running_mean))
        self.bn.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        u, spikes = torch.zeros_like(x[:, 0]), []
        for t in range(TIMESTEPS):
            u = 0.25 * u + x[:, t]
            v = self.bn(u)
            smooth = torch.tanh(3.0 * (v - 0.5)) / 2 + 0.5
            spike = ((v > 0.5).float() - smooth).detach() + smooth
            u = u * (1 - spike)
            spikes.append(spike)
        return torch.stack(spikes, dim=1)


class _Block(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.main = nn.Sequential(
            _Merged(block.conv1), _Norm(block.bn1.bn), _Neuron(block.relu1.norm), _Merged(block.conv2), _Norm(block.bn2.bn)
        )
        short = block.downsample
        self.short = None if short is None else nn.Sequential(_Merged(nn.Sequential(short[0], short[1])), _Norm(short[2].bn))
        self.act = _Neuron(block.output_act.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.main(x) + (x if self.short is None else self.short(x)))


class AuthorsNetwork(nn.Module):
    """`x` `[B, C, H, W]`, shown at each of four steps, to the mean of the logits `[B, K]`."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        parts = list(step.conv1)
        stem = [m for i in range(0, 9, 3) for m in (_Merged(parts[i]), _Norm(parts[i + 1].bn), _Neuron(parts[i + 2].norm))]
        blocks = [_Block(b) for i in range(1, 5) for b in step.get_submodule(f"layer{i}").children()]
        self.body = nn.Sequential(*stem, _Merged(nn.AvgPool2d(2)), *blocks, _Merged(nn.AdaptiveAvgPool2d(1)))
        self.head = step.fc

    def forward(self, x: Tensor) -> Tensor:
        repeated = x.unsqueeze(1).repeat(1, TIMESTEPS, 1, 1, 1)
        return self.head(self.body(repeated).flatten(2)).mean(1)


def authors_network(checkpoint: Path) -> AuthorsNetwork:
    """The network with the weights of an official checkpoint, in evaluation mode."""
    arch, state, *_ = recognise(checkpoint, SourceOptions(arch=ARCHITECTURES[0].name))
    return AuthorsNetwork(arch.module(state, Layers(timesteps=TIMESTEPS))).eval().requires_grad_(False)
