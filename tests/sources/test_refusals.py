"""A network that is refused is told the one thing that stands against it, with its line, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import snntorch
import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.ir.program import Origin, TimeContract
from snnconv.sources.capturing import capture_source

T = 4


class Plain(nn.Module):
    """A neuron that is written out; `steps` says on what it runs."""

    input_shape = (6,)

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.other, self.head, self.timesteps = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 5), T
        self.steps = forward

    def over(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """The spikes of every step."""
        u: Any = 0.0
        spikes = []
        for x in frames:
            u = 0.9 * u + self.fc(x)
            spikes.append((u > 0.3).float())
            u = u - 0.3 * spikes[-1]
        return spikes

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


class Layers(Plain):
    """The neuron is a layer."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__(forward)
        self.lif = snntorch.Leaky(beta=0.9, threshold=0.3)

    def over(self, frames: Sequence[Tensor]) -> list[Tensor]:
        u, spikes = self.lif.init_leaky(), []
        for x in frames:
            s, u = self.lif(self.fc(x), u)
            spikes.append(s)
        return spikes


class Noisy(nn.Module):
    """A neuron that fires at random."""

    def __init__(self) -> None:
        super().__init__()
        self.u: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.u = 0.9 * self.u + x
        return (torch.rand_like(x) < self.u).float()


class Firing(Plain):
    """One step a call, through such a layer."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: m.head(m.act(m.fc(x))))
        self.act = Noisy()


class Unmade(Plain):
    """Its state is made by its reset, on another device."""

    def reset(self) -> None:
        """Begin."""
        self.u = torch.zeros(1, 8).cuda()


def both_ways(m: Any, x: Tensor) -> Tensor:
    forth, back = m.over(list(x)), m.over(list(x)[::-1])[::-1]
    return m.head(torch.stack([a + b for a, b in zip(forth, back, strict=True)])).mean(0)


def by_other_weights(m: Any, x: Tensor) -> Tensor:
    forth = m.over(list(x))
    m.fc, kept = m.other, m.fc
    back = m.over(list(x)[::-1])[::-1]
    m.fc = kept
    return m.head(torch.stack([a + b for a, b in zip(forth, back, strict=True)])).mean(0)


def longer(m: Any, x: Tensor) -> Tensor:
    return m.head(torch.stack(m.over([*x, torch.zeros_like(x[0]), torch.zeros_like(x[0])]))).sum(0)


def encoded(m: Any, x: Tensor) -> Tensor:
    return m.head(torch.stack(m.over([(torch.rand_like(x) < x).float() for _ in range(m.timesteps)]))).mean(0)


def one_step(m: Any, x: Tensor) -> Tensor:
    m.u = 0.9 * m.u + m.fc(x)
    s = (m.u > 0.3).float()
    m.u = m.u - 0.3 * s
    return m.head(s)


def unbounded(m: Any, x: Tensor) -> Tensor:
    u, total = x.new_zeros(len(x), 8), x.new_zeros(len(x), 5)
    for _ in range(m.timesteps):
        u = 0.9 * u + m.fc(x)
        s = torch.floor(torch.relu(u) / 0.3)
        u = u - 0.3 * s
        total = total + m.head(s)
    return total


AGAIN = r"does not repeat from frame to frame.*backwards perhaps, or go on behind the last; let each time step follow"
RANDOM = r"draws random numbers at inference, in test_refusals.py line \d+ \(.*torch.rand_like.*; take them out of its forward"
LONG = pytest.mark.long
SLOW = ("backwards too", "backwards too, written out", "longer, written out")
REFUSED: dict[str, tuple[nn.Module, str]] = {
    "backwards too": (
        Layers(both_ways),
        r"calls its neurons 2 times for each frame.*backwards perhaps.*; let it go over the frames once",
    ),
    "backwards too, written out": (Plain(both_ways), "calls its neurons 2 times for each frame"),
    "backwards by other weights": (
        Plain(by_other_weights),
        rf"fires where its forward compares, first in test_refusals.py line \d+.*{AGAIN}",
    ),
    "longer": (
        Layers(longer),
        "goes on for 2 time steps beside the frames that it is given; let it be given a frame for each step",
    ),
    "longer, written out": (Plain(longer), "goes on for 2 time steps beside the frames that it is given"),
    "encoded at random": (Layers(encoded), RANDOM),
    "encoded at random, written out": (Plain(encoded), RANDOM),
    "fires at random": (Firing(), RANDOM),
    "any number of spikes": (Plain(unbounded), r"any number of spikes.*line \d+ \(s = torch.floor.*; bound their number"),
    "begins elsewhere": (Unmade(one_step), r"its reset\(\) fails: .*CUDA.*line \d+ \(self.u = .*; leave other devices out"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG if name in SLOW else ()) for name in REFUSED])
def test_it_is_told_what_stands_against_it(name: str) -> None:
    if name == "begins elsewhere" and torch.cuda.is_available():
        pytest.skip("the device is there")
    net, words = REFUSED[name]
    with pytest.raises(Refused, match=words):
        capture_source(net, TimeContract(T, (6,)), Origin("tests", "0" * 64, {"readout": "mean (default)"}))
