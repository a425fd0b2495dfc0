"""A network that its factory has run starts as it was built: what the run left in its state is taken back, and that is said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.nn import LIF
from snnconv.sources import Source
from tests.adapters.conversions import loaded


class Leaky(nn.Module):
    """A leaky neuron whose potential is `start` before the first step; `keep` says where it keeps it."""

    def __init__(self, start: Any = None) -> None:
        super().__init__()
        self.v = start

    def forward(self, x: Tensor) -> Tensor:
        v = x if self.v is None else 0.5 * self.v + x
        spikes = (v > 0.3).to(x.dtype)
        self.v = v * (1 - spikes)
        return spikes


class Resettable(Leaky):
    def reset(self) -> None:
        self.v = None


class Fitting(Leaky):
    """Starts anew where the batch is another one."""

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None or self.v.shape != x.shape:
            self.v = torch.zeros_like(x)
        return super().forward(x)


class Buffered(Leaky):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.register_buffer("v", torch.zeros(1, 8), persistent=False)


class Listed(nn.Module):
    """Keeps its potential in a dictionary, and adapts its threshold: no canonical neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.mem: Any = None
        self.raised: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mem is None:
            self.mem, self.raised = torch.zeros_like(x), torch.zeros_like(x)
        self.mem = 0.5 * self.mem + x
        spikes = (self.mem > 0.3 + self.raised).to(x.dtype)
        self.mem, self.raised = self.mem - 0.3 * spikes, 0.9 * self.raised + 0.1 * spikes
        return spikes


class Net(nn.Module):
    """Two neurons between linear layers."""

    timesteps, input_shape = 4, (6,)

    def __init__(self, kind: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.a, self.fc2, self.b = nn.Linear(6, 8), kind(), nn.Linear(8, 8), kind()
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.fc1.weight.mul_(3)
            self.fc2.weight.mul_(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x)))))


class Kept(Net):
    """The network itself keeps what its first neuron fired."""

    def __init__(self) -> None:
        super().__init__(lambda: neuron.LIFNode(v_threshold=0.3))
        self.back, self.fired = nn.Linear(8, 8, bias=False), None

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x) if self.fired is None else self.fc1(x) + self.back(self.fired)
        self.fired = self.a(current)
        return self.head(self.b(self.fc2(self.fired)))


RUNS: dict[str, Callable[[nn.Module], Any]] = {
    "one sample": lambda net: net(torch.rand(1, 6)),
    "a batch": lambda net: [net(torch.rand(5, 6)) for _ in range(3)],
    "a batch of two": lambda net: net.eval()(torch.rand(2, 6)),
    "a training step": lambda net: net(torch.rand(4, 6)).sum().backward(),
    "a part": lambda net: net.b(net.fc2(net.a(net.fc1(torch.rand(4, 6))))),
    "a failing run": lambda net: _failing(net),
}


def _failing(net: nn.Module) -> None:
    net(torch.rand(3, 6))
    with pytest.raises(RuntimeError):
        net(torch.rand(3, 7))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "None": lambda: Net(Leaky),
    "a number": lambda: Net(lambda: Leaky(0.0)),
    "resettable": lambda: Net(Resettable),
    "fitting": lambda: Net(Fitting),
    "a buffer": lambda: Net(Buffered),
    "adaptive": lambda: Net(Listed),
    "kept by the network": Kept,
    "spikingjelly": lambda: Net(lambda: neuron.LIFNode(v_threshold=0.3)),
    "snntorch": lambda: Net(lambda: snntorch.Leaky(beta=0.5, threshold=0.3, init_hidden=True)),
    "snnconv": lambda: Net(lambda: LIF(leak=0.5, threshold=0.3)),
}
KNOWN = ("spikingjelly", "snntorch", "snnconv")
"""Kinds that their framework resets."""


def source_of(make: Callable[[], nn.Module], monkeypatch: Any, folder: Path) -> Source:
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: make)
    return loaded(make(), "net:make", folder)


def noise() -> Tensor:
    return 2 * torch.rand(12, 6, generator=torch.Generator().manual_seed(1))


def as_built(make: Callable[[], nn.Module]) -> Tensor:
    net, x = make().eval(), noise()
    with torch.no_grad():
        return torch.stack([net(x) for _ in range(4)]).mean(0)


def pairs() -> list[tuple[str, str]]:
    """Every kind with two ways of running it, and every way."""
    names = list(RUNS)
    return [(kind, names[(n + more) % len(names)]) for n, kind in enumerate(KINDS) for more in (0, 3)]


@pytest.mark.sample(12)
@pytest.mark.parametrize(("kind", "way"), pairs())
def test_a_network_that_its_factory_ran_starts_as_it_was_built(
    kind: str, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if kind == "kept by the network" and way == "a part":
        pytest.skip("its state is kept by the whole of it")

    def make() -> nn.Module:
        net = KINDS[kind]()
        RUNS[way](net)
        return net

    source, expected = source_of(make, monkeypatch, tmp_path), as_built(KINDS[kind])
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    torch.testing.assert_close(source.program.run(noise()), expected)
    torch.testing.assert_close(source.run(noise()), expected)
    said = [note for note in source.notes if note.startswith("the factory ran the network; what that left in ")]
    assert len(said) == (kind not in KNOWN)


@pytest.mark.parametrize("copied", [False, True])
def test_the_note_names_what_was_taken_back(copied: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make() -> nn.Module:
        net = KINDS["adaptive"]()
        with torch.no_grad():
            net(torch.rand(1, 6))
        return copy.deepcopy(net) if copied else net

    names = "a.mem, a.raised, b.mem, b.raised"
    source = source_of(make, monkeypatch, tmp_path)
    assert source.notes[0].endswith(f"what that left in {names} was taken back") and not source.program.counts_steps


class Calibrated(Leaky):
    """The largest current of the first batch is its threshold from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.largest: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.largest is None:
            self.largest = x.detach().abs().amax()
        return super().forward(x / self.largest)


def test_a_constant_that_the_first_batch_sets_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make() -> nn.Module:
        net = Net(Calibrated)
        torch.manual_seed(1)
        net(torch.rand(4, 6))
        return net

    source = source_of(make, monkeypatch, tmp_path)
    assert source.notes[0] == "the factory ran the network; what that left in a.v, b.v was taken back"
    net, states = make().eval(), []
    net.a.v = net.b.v = None
    with torch.no_grad():
        states = [net(noise()) for _ in range(4)]
    torch.testing.assert_close(source.program.run(noise()), torch.stack(states).mean(0))


def test_a_state_that_the_factory_sets_after_its_run_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make() -> nn.Module:
        net: Any = Net(Leaky)
        net(torch.rand(4, 6))
        net.a.v = net.b.v = 0.1
        return net

    def begun() -> nn.Module:
        return Net(lambda: Leaky(0.1))

    source = source_of(make, monkeypatch, tmp_path)
    assert not any(note.startswith("the factory ran") for note in source.notes)
    torch.testing.assert_close(source.program.run(noise()), as_built(begun))


def test_a_state_of_one_batch_that_the_factory_builds_is_refused_with_its_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="runs on a batch of 16 alone"):
        source_of(lambda: Net(lambda: Leaky(torch.zeros(16, 8))), monkeypatch, tmp_path)
