"""Networks of the exam that compute over time in other ways than by spikes alone, or with operators of their own.

They read potentials out, keep memories, feed spikes back, have neurons that nobody taught or that their forward writes out,
filter what arrives, keep norms over each sample, or hold constants of each step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnconv.ir.program import TimeContract
from snnconv.sources import Source
from tests import networks, potentials, remembering
from tests.adapters import test_snntorch_recurrent as recurrent
from tests.fold.test_kept_norms import source_with
from tests.identify.test_conversion import PAPERS, Paper, normed
from tests.sources import psp_norm_style, written_out
from tests.sources import test_starts as starts
from tests.sources.test_attention import transformer
from tests.sources.test_written_out import made as written
from tests.sources.test_written_out import source_of as written_source
from tests.verify.damage import workbench
from tests.verify.damage.workbench import Case
from tests.verify.test_operators import OPERATORS, SHAPES, Around

T = 4
FORMS = ((".onnx", "sequence"), (".onnx", "step"), (".ts", "sequence"), (".ts", "step"))


class Mechanism(NamedTuple):
    """How a network is made, and the contract under which it runs: whether frames are its input, and its read-out."""

    make: Callable[[], Source]
    event: bool = False
    readout: str = "mean"


def captured(net: nn.Module, shape: tuple[int, ...]) -> Source:
    """The source of a network of which nothing is said but T and the shape of its input."""
    return networks.captured(net.eval(), TimeContract(T, shape))


def potential(name: str, event: bool = False, readout: str = "mean") -> Mechanism:
    return Mechanism(lambda: potentials.source_of(potentials.made(name), readout), event, readout)


def memory(name: str, event: bool = False) -> Mechanism:
    return Mechanism(lambda: remembering.source_of(remembering.made(name), event), event)


def fed_back(name: str) -> Mechanism:
    return Mechanism(lambda: captured(recurrent.made(name), (2, 6, 6)))


def paper(name: str) -> Mechanism:
    def make() -> Source:
        neuron, forward = PAPERS[name]
        torch.manual_seed(0)
        return captured(networks.trained(Paper(copy.deepcopy(neuron), normed(forward))), Paper.input_shape)

    return Mechanism(make)


def in_a_forward(name: str, readout: str = "mean") -> Mechanism:
    return Mechanism(lambda: written_source(written(name)), readout=readout)


def psp(name: str) -> Mechanism:
    net = psp_norm_style
    return Mechanism(lambda: captured(net.settled(net.made(name, 2)), net.INPUT_SHAPE))


class TimeEmbedding(nn.Module):
    """A row of a table for each step, added in front of the neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.time, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Embedding(T, 4), nn.Linear(144, 5)
        self.act = networks.LIF(threshold=0.3)

    def forward(self, x: Tensor) -> Tensor:
        total: Any = 0.0
        for t in range(T):
            total = total + self.head(self.act(self.conv(x) + self.time(torch.tensor(t)).view(1, -1, 1, 1)).flatten(1))
        return total / T


def embedded() -> Source:
    torch.manual_seed(0)
    return captured(TimeEmbedding(), (2, 6, 6))


def around(name: str) -> Mechanism:
    """An operator of the table between two neurons."""
    function, kind = OPERATORS[name]
    return Mechanism(lambda: networks.source_of(Around(function, SHAPES[kind]), T, shape=(7,)))


READ_OUTS = {
    "hard": potential("hard"),
    "leaky": potential("leaky", readout="last"),
    "soft": potential("soft", readout="none"),
    "leaky_none": potential("leaky_none", readout="max"),
    "never": potential("never", readout="sum"),
    "mean_potential": potential("mean_potential", event=True),
    "largest_potential": potential("largest_potential", event=True, readout="max"),
    "added": potential("added"),
}
MEMORIES = {
    name: memory(name, event=name == "filtered_all_steps")
    for name in ("gated", "long", "older", "delay", "delayed", "returned", "adaptive", "filtered", "filtered_all_steps")
}
RECURRENT = {
    **{
        name: memory(name, name == "linear_all_steps")
        for name in ("feedback", "pair", "linear", "linear_all_steps", "element_wise")
    },
    **{f"snntorch {name}": fed_back(name) for name in ("conv", "alone", "synaptic", "alpha_soft", "looping")},
}
IDENTIFIED = {
    name: paper(name) for name in ("batch first", "time last", "membrane norm", "merged", "synaptic current", "per element")
}
WRITTEN_OUT = {
    name: in_a_forward(name, "sum" if name in ("adaptive", "looked up", "reading") else "mean")
    for name in written_out.NETWORKS
    if name in ("locals", "norm of each step", "stepping", "ternary", "cells", "reading")
}
WRITTEN_OUT = {f"written out, {name}": found for name, found in WRITTEN_OUT.items()}
STARTING = {
    f"starting, {name}": Mechanism(lambda name=name: written_source(starts.made(name)), readout=readout)
    for name, readout in (("full", "mean"), ("learned", "last"), ("stepping", "mean"), ("late", "last"))
}
FILTERS = {f"PSP, {name}": psp(name) for name in ("exponential", "alpha")}
KEPT = {f"kept {kind}": Mechanism(lambda kind=kind: source_with(kind, (kind,))) for kind in ("layer", "group", "instance", "rms")}
STEPS = {"embedding of time": Mechanism(embedded)}
ATTENTION = {"attention": Mechanism(lambda: captured(transformer(), (2, 8, 8)))}
AROUND = {
    name: around(name)
    for name in (
        *("clamp of a map", "clip of a map", "bilinear up of a map", "bilinear aligned of a map", "nearest up of a map"),
        *("scaled attention of a tokens", "causal attention of a tokens", "attention of a tokens", "einsum of a map"),
        *("matmul of a map", "Softmax(dim=1) of a map", "LeakyReLU(negative_slope=0.2) of a map", "where of a map"),
        *("GELU(approximate='none') of a map", "greater of a map", "at most of a map", "roll of a map", "cumsum of a map"),
        *("maximum of a map", "index select of a map", "amax of a map", "PixelShuffle(upscale_factor=2) of a map"),
    )
}
MECHANISMS = {
    **{**READ_OUTS, **MEMORIES, **RECURRENT, **IDENTIFIED, **WRITTEN_OUT, **FILTERS},
    **{**STARTING, **KEPT, **STEPS, **ATTENTION, **AROUND},
}
workbench.SOURCES.update({name: mechanism.make for name, mechanism in MECHANISMS.items()})


def on(networks: Iterable[str], form: str = "") -> tuple[Case, ...]:
    """The cases of some of these networks: ONNX and TorchScript, as sequence and as step unless `form` is given."""
    forms = [(suffix, found) for suffix, found in FORMS if form in ("", found)]
    return tuple(Case(name, *each, *MECHANISMS[name][1:]) for name in networks for each in forms)
