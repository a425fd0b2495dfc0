"""A network that its own reset starts elsewhere than it was built is refused; one that it brings back converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from tests.adapters.conversions import loaded


class Potential(nn.Module):
    """A leaky neuron of plain torch that `reset` starts at `start`, and that is built at 0."""

    def __init__(self, start: Any) -> None:
        super().__init__()
        self.v: Any = 0.0
        self.start = start

    def forward(self, x: Tensor) -> Tensor:
        v = x if self.v is None else 0.5 * self.v + x
        spikes = (v > 1).to(x.dtype)
        self.v = v * (1 - spikes)
        return spikes

    def reset(self) -> None:
        self.v = self.start


class Net(nn.Module):
    """Two neurons between linear layers."""

    timesteps, input_shape = 4, (6,)

    def __init__(self, start: Any) -> None:
        super().__init__()
        self.fc1, self.a, self.fc2, self.b = nn.Linear(6, 8), Potential(start), nn.Linear(8, 8), Potential(start)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x)))))


class Whole(Net):
    def reset(self) -> None:
        self.a.reset()
        self.b.reset()


class Failing(Net):
    def reset(self, how: str | None = None) -> None:
        raise ValueError(how)


@pytest.mark.parametrize(("kind", "name"), [(Net, r"a\.reset\(\)"), (Whole, r"reset\(\)")])
def test_a_reset_to_another_potential_is_refused_by_name(kind: type[Net], name: str, tmp_path: Path, arch: Any) -> None:
    net = arch(kind(0.5))
    with pytest.raises(Refused, match=f"starts otherwise after its own {name} than as it was built; call {name} in the factory"):
        loaded(net, "net:make", tmp_path)


@pytest.mark.parametrize(("kind", "start"), [(Net, None), (Net, torch.zeros(())), (Whole, 0.0), (Failing, None)])
def test_a_reset_to_the_same_changes_nothing(kind: type[Net], start: Any, tmp_path: Path, arch: Any) -> None:
    assert list(loaded(arch(kind(start)), "net:make", tmp_path).program.neurons) == ["a", "b"]


def test_one_whose_factory_resets_it_converts(tmp_path: Path, arch: Any) -> None:
    net = Whole(0.5)
    net.reset()
    assert list(loaded(arch(net), "net:make", tmp_path).program.neurons) == ["a", "b"]


class Unbegun(nn.Module):
    """It has no potential before it is reset."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = None

    def forward(self, x: Tensor) -> Tensor:
        v = 0.5 * self.v + x
        spikes = (v > 1).to(x.dtype)
        self.v = v * (1 - spikes)
        return spikes

    def reset(self) -> None:
        self.v = 0.0


class OfABatch(Unbegun):
    def reset(self, batch_size: int) -> None:  # type: ignore[override]
        self.v = torch.zeros(batch_size, 8)


class Halfway(Unbegun):
    def reset(self) -> None:
        self.v = 0.5


class AtRandom(Unbegun):
    def reset(self) -> None:
        self.v = torch.rand(8)


class Around(nn.Module):
    """Two of them; it may have a method of its own that begins."""

    timesteps, input_shape = 4, (6,)

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.a, self.fc2, self.b = nn.Linear(6, 8), kind(), nn.Linear(8, 8), kind()
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.fc1.weight.mul_(5)
            self.fc2.weight.mul_(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x)))))


class Beginning(Around):
    def init_hidden(self, batch_size: int) -> None:
        for neuron in (self.a, self.b):
            neuron.v = torch.zeros(batch_size, 8)


def expected(net: Any, start: float, x: Tensor) -> Tensor:
    net.a.v = net.b.v = start
    with torch.no_grad():
        return torch.stack([net(x) for _ in range(4)]).mean(0)


@pytest.mark.parametrize(
    ("net", "called", "start"),
    [
        (lambda: Around(Unbegun), "a.reset()", 0.0),
        (lambda: Around(OfABatch), "a.reset()", 0.0),
        (lambda: Around(Halfway), "a.reset()", 0.5),
        (lambda: Beginning(Unbegun), "init_hidden()", 0.0),
    ],
)
def test_a_network_that_has_no_state_before_its_reset_is_reset_once(
    net: Any, called: str, start: float, tmp_path: Path, arch: Any
) -> None:
    source = loaded(arch(net()), "net:make", tmp_path)
    assert source.notes[0] == f"{called} was called before the first run: the network has no state to begin with before"
    x = 2 * torch.rand(12, 6, generator=torch.Generator().manual_seed(1))
    wanted = expected(net().eval(), start, x)
    assert wanted.std() > 0.05, "a network that is silent shows nothing"
    torch.testing.assert_close(source.program.run(x), wanted)
    torch.testing.assert_close(source.run(x), wanted)


def test_one_that_begins_at_random_is_refused(tmp_path: Path, arch: Any) -> None:
    with pytest.raises(Refused, match="does not run on an input of shape"):
        loaded(arch(Around(AtRandom)), "net:make", tmp_path)


@pytest.fixture
def arch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the factory that is named give a network."""

    def gives(net: nn.Module) -> nn.Module:
        monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: lambda: net)
        return net

    return gives
