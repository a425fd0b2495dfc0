"""Neurons of plain torch in the styles of papers' code, and networks around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn


class Heaviside(torch.autograd.Function):
    """Fires above 0; the surrogate gradient is of no matter here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).float()


class Fire(nn.Module):
    """Fires at 0 as well."""

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype)


class BatchFirst(nn.Module):
    """A loop over `x[:, t]`, hard reset."""

    def __init__(self, threshold: float = 1.0, tau: float = 0.5) -> None:
        super().__init__()
        self.act, self.threshold, self.tau = Heaviside.apply, threshold, tau

    def forward(self, x: Tensor) -> Tensor:
        membrane: Any = 0
        spikes = []
        for t in range(x.shape[1]):
            membrane = membrane * self.tau + x[:, t]
            spike = self.act(membrane - self.threshold)
            membrane = (1 - spike) * membrane
            spikes.append(spike)
        return torch.stack(spikes, dim=1)


class TimeLast(nn.Module):
    """A loop over `x[..., t]`, which resets when it decays."""

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros(x.shape[:-1], dtype=x.dtype)
        out = torch.zeros_like(x)
        for t in range(x.shape[-1]):
            u = 0.25 * u * (1 - out[..., max(t - 1, 0)]) + x[..., t]
            out[..., t] = u > 0.3
        return out


class MembraneNormed(nn.Module):
    """A loop over `x[t]`, with a batch norm on the membrane potential where it fires."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(channels), Fire()
        scale = torch.linspace(-1, 1.5, channels)
        scale[1] = 0
        self.bn.load_state_dict(
            {
                **self.bn.state_dict(),
                "weight": scale,
                "bias": torch.linspace(0.2, -0.3, channels),
                "running_mean": torch.linspace(-0.1, 0.3, channels),
                "running_var": torch.linspace(0.5, 2, channels),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        u: Any = 0
        spikes = []
        for current in x:
            u = 0.25 * u + current
            spikes.append(self.act(self.bn(u) - 0.5))
            u = u * (1 - spikes[-1])
        return torch.stack(spikes)


class Merged(nn.Module):
    """All steps merged with the batch; a learned threshold, which is also what a spike is, and a first potential half of it."""

    def __init__(self, timesteps: int = 4) -> None:
        super().__init__()
        self.timesteps, self.threshold = timesteps, nn.Parameter(torch.tensor([1.5]))

    def forward(self, x: Tensor) -> Tensor:
        membrane: Any = 0.5 * self.threshold
        spikes = []
        for current in x.unflatten(0, (self.timesteps, -1)):
            membrane = membrane + current
            spikes.append((membrane - self.threshold >= 0).to(x.dtype) * self.threshold)
            membrane = membrane - spikes[-1]
        return torch.stack(spikes).flatten(0, 1)


class Online(nn.Module):
    """One step a call; forgets when it is told that a sample begins."""

    def __init__(self) -> None:
        super().__init__()
        self.membrane: Any = None

    def forward(self, x: Tensor, init: bool = False) -> Tensor:
        if init or self.membrane is None:
            self.membrane = torch.zeros_like(x)
        self.membrane = self.membrane * 0.5 + x
        spike = (self.membrane >= 0.7).to(x.dtype)
        self.membrane = self.membrane - 0.7 * spike
        return spike


class Kept(nn.Module):
    """One step a call, with a reset of its own; the potential rests at -0.1 and is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("v", torch.tensor(-0.1), persistent=False)

    def reset(self) -> None:
        self.v = torch.tensor(-0.1)

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v + (x - (self.v + 0.1)) / 2.5
        spike = self.v > 0.25
        self.v = self.v.masked_fill(spike, -0.1)
        return spike.to(x.dtype)


class Preloaded(nn.Module):
    """One step a call, as in networks that were converted: it starts from half the threshold, and a spike is as high as that."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        self.v: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None:
            self.v = torch.ones_like(x) * self.threshold * 0.5
        self.v = self.v + x
        spike = (self.v >= self.threshold).to(x.dtype)
        self.v = self.v - spike * self.threshold
        return spike * self.threshold


class Primed(nn.Module):
    """A framework's neuron that is given half its threshold before its first step, and scales what it is given and gives."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.t = scale, 0
        self.neuron = neuron.IFNode(v_reset=None)

    def reset(self) -> None:
        self.t = 0
        self.neuron.reset()

    def forward(self, x: Tensor) -> Tensor:
        x = x / self.scale
        if self.t == 0:
            self.neuron(torch.ones_like(x) * 0.5)
        self.t += 1
        return self.neuron(x) * self.scale


class Cell(nn.Module):
    """Is handed its state and returns it; leak and threshold learned per channel, soft reset."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.linspace(0.2, 0.9, channels).view(-1, 1, 1))
        self.threshold = nn.Parameter(torch.linspace(0.4, 0.8, channels).view(-1, 1, 1))

    def forward(self, x: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
        membrane = self.leak * membrane + x
        spike = (membrane / self.threshold - 1 > 0).to(x.dtype)
        return spike, membrane - self.threshold * spike


class MembraneFirst(nn.Module):
    """Is handed potential and spikes, and returns them in that order."""

    def forward(self, x: Tensor, membrane: Tensor, spike: Tensor) -> tuple[Tensor, Tensor]:
        membrane = membrane * 0.25 * (1 - spike) + x
        return membrane, (membrane > 0.5).to(x.dtype)


class CurrentBased(nn.Module):
    """A synaptic current and a potential."""

    def __init__(self, soft: bool = False) -> None:
        super().__init__()
        self.soft = soft

    def forward(self, x: Tensor) -> Tensor:
        current: Any = 0
        membrane: Any = 0
        spikes = []
        for t in range(len(x)):
            current = 0.6 * current + x[t]
            membrane = 0.8 * membrane + current
            spikes.append((membrane > 1).to(x.dtype))
            membrane = membrane - spikes[-1] if self.soft else membrane * (1 - spikes[-1])
        return torch.stack(spikes)


class PerElement(nn.Module):
    """A threshold of its own for every element."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.threshold = nn.Parameter(0.5 + torch.rand(shape, generator=torch.Generator().manual_seed(0)))
        self.membrane: Any = 0

    def forward(self, x: Tensor) -> Tensor:
        self.membrane = 0.9 * self.membrane + x
        spike = (self.membrane > self.threshold).to(x.dtype)
        self.membrane = self.membrane * (1 - spike)
        return spike


Step = Callable[..., tuple[Tensor, ...]]


class Loop(nn.Module):
    """A neuron that loops over `x[t]`; `step(x, *states)` returns the spikes and the next states, which are 0 at first."""

    def __init__(self, step: Step, states: int = 1) -> None:
        super().__init__()
        self.step, self.states = step, states

    def forward(self, x: Tensor) -> Tensor:
        states = [torch.zeros_like(x[0])] * self.states
        spikes = []
        for current in x:
            spike, *states = self.step(current, *states)
            spikes.append(spike)
        return torch.stack(spikes)


def undecided(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Half a spike on its threshold itself."""
    v = 0.5 * v + x
    spikes = 0.5 * (torch.sign(v - 1) + 1)
    return spikes, v * (1 - spikes)


def two_spikes(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = v + x
    spikes = v.floor().clamp(0, 2)
    return spikes, v - spikes


def counted(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """As many spikes as there are thresholds in the potential."""
    v = v + 4 * x
    spikes = v.clamp(min=0).floor()
    return spikes, v - spikes


def faint(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """A thousandth of a current is taken."""
    v = 0.5 * v + 0.001 * x
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes)


def ternary(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = v + x
    spikes = (v > 1).to(x.dtype) - (v < -1).to(x.dtype)
    return spikes, v - spikes


def drawn(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = (torch.rand_like(v) < v.sigmoid()).to(x.dtype)
    return spikes, v * (1 - spikes)


def lateral(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes) - 0.1 * spikes.sum(1, keepdim=True)


def adaptive(x: Tensor, v: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = (v > 1 + b).to(x.dtype)
    return spikes, v * (1 - spikes), 0.9 * b + 0.1 * spikes


def refractory(x: Tensor, v: Tensor, left: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = ((v > 1) & (left <= 0)).to(x.dtype)
    return spikes, v * (1 - spikes), torch.where(spikes > 0, 2.0, left - 1)


def late(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    spikes = (v > 1).to(x.dtype)
    return spikes, 0.5 * v * (1 - spikes) + x


def clamped(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = (0.5 * v + x).clamp(min=-2)
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes)


def partly_reset(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - 0.7 * spikes)


def band(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = ((v > 1) & (v < 3)).to(x.dtype)
    return spikes, v * (1 - spikes)


def second_order(x: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x - 0.2 * w
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes), 0.5 * w + v


def skipping(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    if not bool(x.any()):
        return torch.zeros_like(x), v
    v = 0.5 * v + x
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes)


def tiring(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = 0.5 * v + x
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes) - (2.0 if spikes.mean() > 0.9 else 0.0)


def crowded(x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    v = (0.5 if len(x) < 100 else 0.25) * v + x
    spikes = (v > 1).to(x.dtype)
    return spikes, v * (1 - spikes)
