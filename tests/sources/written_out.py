"""Networks whose neurons are written out in their own forward, in the styles of papers' code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnconv.nn import LIF

T = 5
CHANNELS, CLASSES = 4, 5


class Above(torch.autograd.Function):
    """1 above 0, written into a tensor of zeros."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, since: Any = None) -> Tensor:
        spikes = torch.zeros_like(potential)
        spikes[potential > 0] = 1.0
        return spikes


class Image(nn.Module):
    """Two convolutions and a head."""

    input_shape = (2, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, stride=2)
        self.head = nn.Linear(CHANNELS * 9, CLASSES)
        self.timesteps = T


class Locals(Image):
    """Potentials in local variables, numbers at first; the last spikes are multiplied away."""

    def forward(self, x: Tensor) -> Tensor:
        u1 = u2 = s1 = s2 = 0.0
        total: Any = 0
        current = self.conv1(x)
        for _ in range(self.timesteps):
            u1 = 0.5 * u1 * (1 - s1) + current
            s1 = Above.apply(u1 - 0.4)
            u2 = 0.5 * u2 * (1 - s2) + self.conv2(s1)
            s2 = (u2 > 0.1).float()
            total = total + self.head(s2.flatten(1))
        return total / self.timesteps


class Looked(nn.Module):
    """Layers that are looked up in a list, thresholds and leaks in dicts of parameters, potentials in a dict that each call makes
    anew, masks of dropout; it returns the potential of its last layer."""

    input_shape = (2, 8, 8)

    def __init__(self, before: bool = False) -> None:
        super().__init__()
        self.before = before
        self.features = nn.Sequential(
            nn.Conv2d(2, CHANNELS, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.2),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.AvgPool2d(2, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(CHANNELS * 16, 12, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.last = nn.Linear(12, CLASSES, bias=False)
        self.threshold = nn.ParameterDict(
            {"t0": nn.Parameter(torch.tensor(0.3)), "t3": nn.Parameter(torch.tensor(0.2)), "t6": nn.Parameter(torch.tensor(0.1))}
        )
        self.leak = nn.ParameterDict({f"l{i}": nn.Parameter(torch.tensor(0.9 - i / 20)) for i in (0, 3, 6)})
        self.act_func = Above.apply
        self.timesteps = T
        self.mem: dict[int, Tensor] = {}
        self.mask: dict[int, Tensor] = {}
        self.spike: dict[int, Tensor] = {}

    def neuron_init(self, x: Tensor) -> None:
        """Forget."""
        self.batch_size, size = x.size(0), x.size(2)
        self.mem, self.mask, self.spike = {}, {}, {}
        for i, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                self.mem[i] = torch.zeros(self.batch_size, layer.out_channels, size, size)
                self.spike[i] = torch.ones(self.mem[i].shape) * (-1000)
            elif isinstance(layer, nn.Dropout):
                self.mask[i] = layer(torch.ones(self.mem[i - 2].shape))
        self.mem[6] = torch.zeros(self.batch_size, 12)
        self.spike[6] = torch.ones(self.mem[6].shape) * (-1000)
        self.mem[7] = torch.zeros(self.batch_size, CLASSES)

    def fire(self, i: int, t: int, delta: Tensor) -> Tensor:
        """One step of the neurons of layer i."""
        threshold, leak = getattr(self.threshold, f"t{i}"), getattr(self.leak, f"l{i}")
        if not self.before:
            self.mem[i] = leak * self.mem[i] + delta
        above = (self.mem[i] / threshold) - 1.0
        spikes = self.act_func(above, t - 1 - self.spike[i])
        reset = threshold * (above > 0).float()
        self.spike[i] = self.spike[i].masked_fill(spikes.bool(), t - 1)
        self.mem[i] = self.mem[i] - reset if not self.before else leak * self.mem[i] + delta - reset
        return spikes.clone()

    def forward(self, x: Tensor, find_max_mem: bool = False, max_mem_layer: int = 0) -> Tensor:
        self.neuron_init(x)
        for t in range(self.timesteps):
            out = x
            for i in range(len(self.features)):
                if isinstance(self.features[i], nn.Conv2d):
                    out = self.fire(i, t, self.features[i](out))
                elif isinstance(self.features[i], nn.AvgPool2d):
                    out = self.features[i](out)
                elif isinstance(self.features[i], nn.Dropout):
                    out = out * self.mask[i]
            out = self.fire(6, t, self.classifier[0](out.reshape(self.batch_size, -1)))
            self.mem[7] = self.mem[7] + self.last(out)
        return self.mem[7]


class NormOfEachStep(Image):
    """A batch norm for each step behind each convolution, made bare of its bias; potentials in a list, soft reset."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(CHANNELS, eps=1e-4) for _ in range(T)) for _ in range(2))
        self.thresholds = [0.3, 0.2]

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        potentials = [torch.zeros(batch, CHANNELS, 6, 6), torch.zeros(batch, CHANNELS, 3, 3)]
        last = torch.zeros(batch, CLASSES)
        for t in range(self.timesteps):
            out = x
            for i, conv in enumerate([self.conv1, self.conv2]):
                potentials[i] = 0.95 * potentials[i] + self.norms[i][t](conv(out))
                above = potentials[i] / self.thresholds[i] - 1.0
                reset = torch.zeros_like(potentials[i])
                reset[above > 0] = self.thresholds[i]
                potentials[i] = potentials[i] - reset
                out = Above.apply(above)
            last = last + self.head(out.reshape(batch, -1))
        return last / self.timesteps


class LeakyReadOut(Image):
    """Frames `[T, B, ...]`; the read-out is the mean of a leaky potential."""

    def forward(self, x: Tensor) -> Tensor:
        u: Any = None
        out: Any = None
        outs = []
        for frame in x:
            current = self.conv2(self.conv1(frame))
            u = current if u is None else 0.8 * u + current
            spikes = (u >= 0.2).to(u)
            u = u - 0.2 * spikes
            given = self.head(spikes.flatten(1))
            out = given if out is None else 0.9 * out + given
            outs.append(out)
        return torch.stack(outs).mean(0)


class State(NamedTuple):
    """What a neuron keeps."""

    u: Tensor
    i: Tensor


class Helped(Image):
    """A function for all neurons, which is handed a named tuple and returns another; frames `[B, T, ...]`; a `while`."""

    @staticmethod
    def neuron(x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step."""
        i = 0.6 * state.i + x
        u = 0.9 * state.u + i
        spikes = torch.gt(u, 0.5).float()
        return spikes, State(u * (1 - spikes), i)

    def forward(self, x: Tensor) -> Tensor:
        states = {
            "first": State(*[torch.zeros(len(x), CHANNELS, 6, 6)] * 2),
            "second": State(*[torch.zeros(len(x), CHANNELS, 3, 3)] * 2),
        }
        outs, t = [], 0
        while t < x.shape[1]:
            s, states["first"] = self.neuron(self.conv1(x[:, t]), states["first"])
            s, states["second"] = self.neuron(self.conv2(s), states["second"])
            outs.append(self.head(s.flatten(1)))
            t += 1
        return torch.stack(outs, 1)


class Stepping(Image):
    """One step a call; potentials in a list of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.u: list[Any] = [0.0, 0.0]

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate([self.conv1, self.conv2]):
            self.u[i] = 0.7 * self.u[i] + conv(x)
            x = Above.apply(self.u[i] - 0.2)
            self.u[i] = self.u[i] * (1 - x)
        return self.head(x.flatten(1))


class Adaptive(Image):
    """A threshold that rises with each spike, and a rest after it that counts down; written into what was there."""

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros(x.shape[0], CHANNELS, 6, 6)
        raised = torch.zeros_like(u)
        rest = torch.zeros_like(u, dtype=torch.int64)
        total = torch.zeros(x.shape[0], CLASSES)
        for _step in range(self.timesteps):
            u.mul_(0.8).add_(self.conv1(x))
            spikes = torch.logical_and(u > 0.2 + raised, rest == 0)
            rest = torch.where(spikes, 1, (rest - 1).clamp(min=0))
            raised = 0.9 * raised + 0.3 * spikes.float()
            u = u.masked_fill(spikes, 0.0)
            total += self.head(functional.avg_pool2d(spikes.float(), 2).flatten(1))
        return total


class TernaryLayer(nn.Module):
    """A layer that loops over the steps of `[T, B, ...]` by itself, and fires with -1, 0 and 1."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        u: Any = 0.0
        spikes = []
        for t in range(self.steps):
            u = 0.8 * u + x[t]
            spikes.append((u > 0.2).to(x.dtype) - (u < -0.2).to(x.dtype))
            u = u - 0.2 * spikes[-1]
        return torch.stack(spikes)


class Ternary(Image):
    """Two such layers, each after a convolution of all steps at once."""

    def __init__(self) -> None:
        super().__init__()
        self.act1, self.act2 = TernaryLayer(T), TernaryLayer(T)

    def over(self, layer: nn.Module, x: Tensor) -> Tensor:
        """All steps through a layer that knows none."""
        y: Tensor = layer(x.flatten(0, 1))
        return y.unflatten(0, (self.timesteps, -1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1)
        x = self.act2(self.over(self.conv2, self.act1(self.over(self.conv1, x))))
        return self.head(x.mean(0).flatten(1))


class Besides(Image):
    """Neurons that are layers; what is fed back and a read-out that leaks are local variables of the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.lif, self.lif2, self.back = LIF(0.5, 0.3), LIF(0.9, 0.2), nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        spikes = torch.zeros(x.shape[0], CHANNELS, 6, 6)
        out: Any = torch.zeros(x.shape[0], CLASSES)
        best = torch.zeros(x.shape[0], CLASSES)
        for _ in range(self.timesteps):
            spikes = self.lif(self.conv1(x) - self.back(spikes))
            out = 0.6 * out + self.head(self.lif2(self.conv2(spikes)).flatten(1))
            best = torch.maximum(best, out)
        return best


class Cell(nn.Module):
    """A current-based neuron that is handed a named tuple, or None, and returns another."""

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        u, i = (torch.zeros_like(x), torch.zeros_like(x)) if state is None else state
        u, i = u + 0.5 * (i - u), 0.8 * i
        spikes = torch.gt(u - 0.3, torch.as_tensor(0.0)).to(x.dtype)
        return spikes, State((1 - spikes) * u, i + x)


class ReadOutCell(nn.Module):
    """A weight and a leaky potential, in the same style."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(CLASSES, CHANNELS * 9))

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        current = functional.linear(x, self.weight)
        u, i = (torch.zeros_like(current), torch.zeros_like(current)) if state is None else state
        i = i + current
        u = u + 0.2 * (i - u)
        return u, State(u, 0.7 * i)


class Cells(Image):
    """The states of cells go from step to step in local variables."""

    def __init__(self, kind: type[nn.Module] = Cell) -> None:
        super().__init__()
        self.cell1, self.cell2, self.out = kind(), kind(), ReadOutCell()

    def forward(self, x: Tensor) -> Tensor:
        s1 = s2 = so = None
        potentials = []
        for _ in range(self.timesteps):
            z, s1 = self.cell1(2 * self.conv1(x), s1)
            z, s2 = self.cell2(2 * self.conv2(z), s2)
            v, so = self.out(z.flatten(1), so)
            potentials.append(v)
        return torch.stack(potentials).mean(0)


class LeakyCell(nn.Module):
    """A leaky neuron that returns its potential after and before it resets."""

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        u = x if state is None else 0.5 * state.u + x
        spikes = (u > 0.3).to(x.dtype)
        return spikes, State(u * (1 - spikes), u)


class Reading(Cells):
    """The potential that a cell returns is read, beside its spikes."""

    def __init__(self) -> None:
        super().__init__(LeakyCell)

    def forward(self, x: Tensor) -> Tensor:
        s1 = s2 = None
        total: Any = 0.0
        for _ in range(self.timesteps):
            z, s1 = self.cell1(2 * self.conv1(x), s1)
            z, s2 = self.cell2(2 * self.conv2(z), s2)
            total = total + self.head((z + 0.5 * s2.i).flatten(1))
        return total


class Signed(Image):
    """Spikes of -1 and 1, by their signs, and of 0 and 1, by a step function."""

    def forward(self, x: Tensor) -> Tensor:
        u1 = torch.zeros(x.shape[0], CHANNELS, 6, 6)
        u2 = torch.zeros(x.shape[0], CHANNELS, 3, 3)
        outs = []
        for _ in range(self.timesteps):
            u1 = 0.5 * u1 + self.conv1(x)
            s = torch.sign(u1 - 0.1)
            u1 = u1 - 0.1 * s
            u2 = 0.5 * u2 + self.conv2(s)
            s = torch.heaviside(u2 - 0.2, torch.tensor(0.0))
            u2 = u2 * (1 - s)
            outs.append(self.head(s.flatten(1)))
        return torch.stack(outs).mean(0)


class Count(torch.autograd.Function):
    """As many spikes as there are thresholds in a potential, up to 4; its gradient is that of the potential there."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        return torch.round(torch.clamp(u, min=0, max=4))


class GradedLayer(nn.Module):
    """A neuron of integer spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.u: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.u = 0.25 * self.u + x
        spikes: Tensor = Count.apply(5 * self.u)
        self.u = self.u - spikes / 5
        return spikes / 4


class Graded(Image):
    """Such layers, one step a call."""

    def __init__(self) -> None:
        super().__init__()
        self.act1, self.act2 = GradedLayer(), GradedLayer()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act2(self.conv2(self.act1(self.conv1(x)))).flatten(1))


class AdaptiveOverTime(nn.Module):
    """A neuron with a threshold that adapts, over `[B, T, ...]`; it takes a tenth of its current, and copies itself by its
    arguments."""

    def __init__(self, kept: float) -> None:
        super().__init__()
        self.kept, self.rate = kept, torch.zeros(())
        self.u: Any = None
        self.raised: Any = None

    def __deepcopy__(self, memo: Any) -> AdaptiveOverTime:
        return AdaptiveOverTime(self.kept)

    def forward(self, x: Tensor) -> Tensor:
        if self.u is None or self.u.shape != x[:, 0].shape:
            self.u = torch.zeros_like(x[:, 0])
            self.raised = torch.zeros_like(self.u)
        spikes = []
        for t in range(x.shape[1]):
            self.u = self.kept * self.u + 0.1 * x[:, t]
            spikes.append((self.u > 0.1 + self.raised).float())
            self.raised = 0.8 * self.raised + 0.1 * spikes[-1]
            self.u = self.u - 0.1 * spikes[-1]
        self.rate = torch.stack(spikes).sum() / (len(spikes) * spikes[0].numel())
        return torch.stack(spikes, 1)


class BatchFirst(nn.Module):
    """Such layers, and linear ones, of which those may take features for steps."""

    input_shape = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act1, self.fc2, self.act2 = (
            nn.Linear(8, 12),
            AdaptiveOverTime(0.9),
            nn.Linear(12, 9),
            AdaptiveOverTime(0.5),
        )
        self.head, self.timesteps = nn.Linear(9, CLASSES), T

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.act2(4 * self.fc2(self.act1(3 * self.fc1(x)))))
        return y


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "locals": Locals,
    "looked up": Looked,
    "looked up, fires first": lambda: Looked(before=True),
    "norm of each step": NormOfEachStep,
    "leaky read-out": LeakyReadOut,
    "helped": Helped,
    "stepping": Stepping,
    "adaptive": Adaptive,
    "ternary": Ternary,
    "besides": Besides,
    "cells": Cells,
    "reading": Reading,
    "signed": Signed,
    "graded": Graded,
    "batch first": BatchFirst,
}
