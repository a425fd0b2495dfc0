"""What a network keeps may start from a constant: a first potential, a threshold that adapts, the largest value so far."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.ir.program import share
from snnconv.ir.starting import STARTING_FROM
from snnconv.nn import LIF
from snnconv.results.verdict import judge
from snnconv.verify import verify
from tests.adapters.conversions import in_turn, verified
from tests.references import reference_to
from tests.sources.test_written_out import source_of
from tests.sources.written_out import CHANNELS, CLASSES, Above, Cells, Image


class Full(Image):
    """Numbers for first potentials, a soft and a hard reset."""

    def forward(self, x: Tensor) -> Tensor:
        u1 = torch.full((x.shape[0], CHANNELS, 6, 6), 0.1)
        u2 = torch.ones(x.shape[0], CHANNELS, 3, 3) * 0.05
        outs = []
        for _ in range(self.timesteps):
            u1 = 0.5 * u1 + self.conv1(x)
            s = Above.apply(u1 - 0.2)
            u1 = u1 - 0.2 * s
            u2 = 0.5 * u2 + self.conv2(s)
            s = Above.apply(u2 - 0.1)
            u2 = u2 * (1 - s)
            outs.append(self.head(s.flatten(1)))
        return torch.stack(outs).mean(0)


class Learned(Image):
    """Learned first potentials, one a channel, and of what reads out; they are scaled before the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.u0, self.out0 = nn.Parameter(torch.rand(1, CHANNELS, 1, 1)), nn.Parameter(torch.randn(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        u = 0.3 * self.u0.expand(x.shape[0], -1, 6, 6)
        out = self.out0.expand(x.shape[0], -1)
        for _ in range(self.timesteps):
            u = 0.5 * u + self.conv1(x)
            s = (u > 0.2).float()
            u = u - 0.2 * s
            out = 0.9 * out + self.head(avg_pool2d(s, 2).flatten(1))
        return out


class Tiring(nn.Module):
    """A layer with a threshold that adapts, and begins where it was told to; both are made in the first call."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta0 = theta
        self.reset()

    def reset(self) -> None:
        """Forget."""
        self.u: Any = None
        self.theta: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.u is None:
            self.u, self.theta = torch.zeros_like(x), torch.full_like(x, self.theta0)
        self.u = 0.8 * self.u + x
        s = (self.u > self.theta).to(x)
        self.theta = 0.9 * self.theta + 0.1 * s
        self.u = self.u - 0.2 * s
        return s


class Stepping(Image):
    """Such layers, one step a call."""

    def __init__(self) -> None:
        super().__init__()
        self.act1, self.act2 = Tiring(0.2), Tiring(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act2(self.conv2(self.act1(self.conv1(x)))).flatten(1))


class Looping(Stepping):
    """The same, all steps in a call that makes them forget first."""

    def forward(self, x: Tensor) -> Tensor:
        self.act1.reset()
        self.act2.reset()
        out = torch.zeros(x.shape[0], CLASSES)
        for _ in range(self.timesteps):
            out = out + super().forward(x)
        return out / self.timesteps


class Frames(Image):
    """A threshold that adapts, made for the size of the batch before the loop over frames `[B, T, ...]`."""

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros(x.shape[0], CHANNELS, 6, 6)
        theta = 0.2 * torch.ones(x.shape[0], CHANNELS, 6, 6)
        outs = []
        for t in range(x.shape[1]):
            u = 0.8 * u + self.conv1(x[:, t])
            s = (u > theta).float()
            theta = 0.9 * theta + 0.1 * s
            u = u * (1 - s)
            outs.append(self.head(self.conv2(s).flatten(1)))
        return torch.stack(outs).mean(0)


class Late(Image):
    """A variable that the first iteration sets, the last spikes long ago, and the largest output so far."""

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros(x.shape[0], CHANNELS, 6, 6)
        last = torch.full_like(u, -3.0)
        theta: Any = None
        best = torch.full((x.shape[0], CLASSES), -math.inf)
        out = torch.zeros(x.shape[0], CLASSES)
        for _ in range(self.timesteps):
            if theta is None:
                theta = torch.full_like(u, 0.1)
            u = 0.8 * u + self.conv1(x)
            s = torch.logical_and(u > theta, last < 0.5).float()
            last = torch.where(s > 0, 2.0, last - 1)
            theta = theta + 0.1 * s
            u = u * (1 - s)
            out = 0.5 * out + self.head(avg_pool2d(s, 2).flatten(1))
            best = torch.maximum(best, out)
        return best


class Held(Image):
    """One step a call; what is kept is held from the start, for one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.u = {"u": torch.full((1, 1, 1, 1), 0.1)}
        self.register_buffer("trace", torch.rand(1, CHANNELS, 1, 1))
        self.trace: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.u["u"] = 0.7 * self.u["u"] + self.conv1(x)
        s = (self.u["u"] > 0.2).float()
        self.trace = 0.9 * self.trace + s
        self.u["u"] = self.u["u"] - 0.2 * s
        return self.head(self.conv2(s - 0.1 * self.trace).flatten(1))


NETWORKS: dict[str, Callable[[], Image]] = {
    "full": Full,
    "learned": Learned,
    "stepping": Stepping,
    "looping": Looping,
    "frames": Frames,
    "late": Late,
    "held": Held,
}


def made(name: str) -> Image:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def run(net: Image, name: str, x: Tensor) -> Tensor:
    """What the network's own forward returns, read out."""
    with torch.no_grad():
        return torch.stack([net(x) for _ in range(net.timesteps)]).mean(0) if name in ("stepping", "held") else net(x)


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_starts_from_constants_is_equivalent_to_its_own_forward(name: str, tmp_path: Path) -> None:
    net, event = made(name), name == "frames"
    source = source_of(net, event)
    x = 2 * torch.rand(8, *([net.timesteps] if event else []), *net.input_shape, generator=torch.Generator().manual_seed(1))
    expected = run(copy.deepcopy(net), name, x)
    torch.testing.assert_close(source.program.run(x), expected)
    assert source.program.counts_steps and source.program.memories
    pt2.save(source.program, tmp_path / "net.pt2")
    assert torch.equal(pt2.load(tmp_path / "net.pt2").run(x), source.program.run(x))
    verified(source, tmp_path, x, in_turn(NETWORKS, name))


def test_a_start_of_0_needs_no_count_of_the_steps() -> None:
    class FromZero(Tiring):
        """One that begins at 0."""

    net = made("stepping")
    net.act1, net.act2 = FromZero(0.0), FromZero(0.0)
    program = source_of(net).program
    assert set(program.memories) == {"act1.u", "act1.theta", "act2.u", "act2.theta"} and not program.counts_steps


@pytest.mark.long
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_another_start_is_not_equivalent(form: str, tmp_path: Path) -> None:
    source = source_of(made("full"))
    folded = fold(source.program)
    graph = share(folded.graph)
    first, *_ = graph.graph.find_nodes(op="call_function", target=STARTING_FROM)
    with graph.graph.inserting_before(first):
        first.args = (first.args[0], graph.graph.call_function(torch.ops.aten.mul.Tensor, (first.args[1], 1.01)))
    graph.recompile()
    damaged = copy.copy(folded)
    object.__setattr__(damaged, "graph", graph)
    path = tmp_path / "n.onnx"
    export(damaged, path, format_of(path), form)
    x = 2 * torch.rand(8, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    found = verify(reference_to(source, folded), open_candidate(path).load(), Data(x, None, "noise"), ("s", "n.onnx"))
    verdict = judge(found)
    assert not verdict.equivalent
    failed = {check.level for check in found.checks if not check.passed}
    assert {"algebra", "deployment"} & failed, verdict.faults


class Hidden(Image):
    """The first state of a gated unit is a local variable of one step."""

    def __init__(self) -> None:
        super().__init__()
        self.lif, self.gru, self.h0 = LIF(0.5, 0.3), nn.GRUCell(CHANNELS * 9, CLASSES), nn.Parameter(torch.randn(CLASSES))
        self.h: Any = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.h0.expand(x.shape[0], -1) if self.h is None else self.h
        self.h = self.gru(avg_pool2d(self.lif(self.conv1(x)), 2).flatten(1), h)
        return self.h


class Fed(Image):
    """The first step lacks the bias of what feeds back, which no input may show."""

    def __init__(self) -> None:
        super().__init__()
        self.lif, self.back = LIF(0.5, 30.0), nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.h: Any = None

    def forward(self, x: Tensor) -> Tensor:
        fed = 0 if self.h is None else self.back(self.h)
        self.h = self.lif(self.conv1(x) + fed)
        return self.head(avg_pool2d(self.h, 2).flatten(1))


@pytest.mark.parametrize("kind", [Hidden, Fed])
def test_a_first_step_that_is_computed_otherwise_is_refused_by_name(kind: type[Image]) -> None:
    torch.manual_seed(0)
    with pytest.raises(Refused, match=r"its first step otherwise than from 0 or another constant in what it keeps \(h\)"):
        source_of(kind().eval())


@pytest.mark.long
def test_what_the_first_step_leaves_is_no_start_though_it_is_the_same_for_every_input() -> None:
    torch.manual_seed(0)
    program = source_of(Cells().eval()).program  # the second cell is given a bias alone at first
    assert "forward.s2.1" in program.memories and not program.counts_steps
