"""Networks that return several things, and their sources."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import snntorch
import torch
from torch import Tensor, nn

from snnconv.ir.program import Origin, TimeContract
from snnconv.nn import LIF, MPBN
from snnconv.sources import Source
from snnconv.sources.capturing import capture_source
from tests.networks import SHAPE, trained

TIMESTEPS = 3


class Body(nn.Module):
    """Two spiking layers with their norms, and a head on each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.act1 = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), LIF(norm=MPBN(6))
        self.conv2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), LIF(threshold=0.3)
        self.aux, self.head = nn.Linear(6 * 8 * 8, 5), nn.Linear(6 * 8 * 8, 5)

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.act1(self.norm1(self.conv1(x)))
        return first, self.act2(self.conv2(first))


class Heads(Body):
    """One step: scores of two heads, which are alike in shape, a map, and the spikes between them."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first, second = self.seen(x)
        return {
            "logits": self.head(second.flatten(1)),
            "aux": self.aux(first.flatten(1)),
            "map": self.conv2(second),
            "spikes": second,
        }


class Found(NamedTuple):
    """What a detector finds."""

    scores: Tensor
    boxes: Tensor


class Detector(Body):
    """A whole run on an image: one output of each step, one that is read out already, one of the last step, and class numbers."""

    def forward(self, x: Tensor) -> tuple[Found, Tensor, Tensor]:
        scores, boxes = [], []
        for _ in range(TIMESTEPS):
            first, second = self.seen(x)
            scores.append(self.head(second.flatten(1)))
            boxes.append(self.aux(first.flatten(1)))
        return Found(torch.stack(scores), torch.stack(boxes).mean(0)), boxes[-1], scores[-1].argmax(1)


class Membranes(nn.Module):
    """The style of snntorch: spikes and membranes of every step, and what the network keeps in a variable of its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(8, 12), snntorch.Leaky(beta=0.8, threshold=0.4)
        self.fc2, self.lif2 = nn.Linear(12, 4), snntorch.Leaky(beta=0.8, threshold=0.3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (mem1, mem2), spikes, membranes = (self.lif1.reset_mem(), self.lif2.reset_mem()), [], []
        trace = torch.zeros(x.shape[0], 4)
        for _ in range(TIMESTEPS):
            spk, mem1 = self.lif1(self.fc1(x), mem1)
            spk, mem2 = self.lif2(self.fc2(spk), mem2)
            trace = 0.5 * trace + spk
            spikes.append(spk)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes), trace


class Untouched(Body):
    """Outputs that no neuron has a part in: the image itself, and what a layer makes of it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, second = self.seen(x)
        return self.head(second.flatten(1)), x, self.conv1(x)


class Median(nn.Module):
    """Every step, and what no read-out gives: a median over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(8, 12), LIF(threshold=0.2), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = torch.stack([self.head(self.act(self.fc(x))) for _ in range(TIMESTEPS)])
        return {"steps": scores, "median": scores.median(0)[0]}


class Weights(Median):
    """Its scores, and its weights, which are of no sample."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = torch.stack([self.head(self.act(self.fc(x))) for _ in range(TIMESTEPS)])
        return {"steps": scores, "weights": self.head.weight}


class Correlated(Median):
    """Its scores, and how the steps go together, which no single step has a part in."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = torch.stack([self.head(self.act(self.fc(x))) for _ in range(TIMESTEPS)], 1)
        return {"steps": scores, "together": scores @ scores.transpose(1, 2)}


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "heads": (Heads, SHAPE),
    "detector": (Detector, SHAPE),
    "membranes": (Membranes, (8,)),
    "untouched": (Untouched, SHAPE),
}


REFUSED: dict[str, tuple[type[nn.Module], str]] = {
    "median": (Median, r"reads out output median over time by itself, .*; or leave median out of --output"),
    "weights": (Weights, r"returns as weights torch.float32 of shape \[4, 12\].*; or leave weights out of --output"),
    "together": (Correlated, r"returns together \[\d+, 3, 3\], and a run of one step returns nothing like it; leave it out of"),
}
"""Networks of which one output stands against the others, and what is said of it."""


@cache
def several(name: str, output: str = "all", event: bool = False, readout: str = "") -> Source:
    """The source of a network, by the outputs that are asked for; a `readout` is one that the user gave."""
    kind, shape = NETWORKS[name] if name in NETWORKS else (REFUSED[name][0], (8,))
    settings = {"output": f"{output} (option)", "readout": f"{readout} (option)" if readout else "mean (default)"}
    contract = TimeContract(TIMESTEPS, shape, event, readout or "mean")
    return capture_source(trained(kind()), contract, Origin("tests.several", "0" * 64, settings), output=output)
