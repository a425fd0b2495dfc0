"""A network that is told the first step of a run, as those are that train online, converts and starts every sample anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.first_look.arguments import first_step_argument
from tests.adapters.conversions import in_turn, loaded, verified

STEPS = 4


class Online(nn.Module):
    """A neuron that has no potential before it is told to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = None

    def begin(self, x: Tensor) -> None:
        self.v = torch.zeros_like(x)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        if kwargs.get("init", False):
            self.begin(x)
        self.v = self.v.detach() * 0.5 + x
        spikes = (self.v > 0.3).to(x.dtype)
        self.v = self.v - 0.3 * spikes
        return spikes


class Told(nn.Module):
    """A neuron with an argument for it, and a hard reset; its attribute is not there before."""

    def forward(self, x: Tensor, first: bool = False) -> Tensor:
        if first:
            self.mem: Any = torch.zeros_like(x)
        self.mem = self.mem * 0.25 + x
        spikes = (self.mem >= 0.3).to(x.dtype)
        self.mem = self.mem * (1 - spikes)
        return spikes


class Parts(nn.Sequential):
    """Hands what it is told to the neurons alone."""

    def forward(self, input: Tensor, **kwargs: Any) -> Tensor:
        for part in self:
            input = part(input, **kwargs) if isinstance(part, Online) else part(input)
        return input


class Net(nn.Module):
    timesteps, input_shape = STEPS, (6,)
    kind: Callable[[], nn.Module] = Told

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.a, self.fc2, self.b = nn.Linear(6, 8), type(self).kind(), nn.Linear(8, 8), type(self).kind()
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.fc1.weight.mul_(3)
            self.fc2.weight.mul_(3)


class Optional(Net):
    def forward(self, x: Tensor, init: bool = False) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x), init)), init))


class Required(Net):
    def forward(self, x: Tensor, init: bool) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x), init)), first=init))


class TrueByDefault(Net):
    def forward(self, x: Tensor, is_first: bool = True) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x), is_first)), is_first))


class Keyword(Net):
    def forward(self, x: Tensor, *, reset: bool = False) -> Tensor:
        return self.head(self.b(self.fc2(self.a(self.fc1(x), reset)), reset))


class HandedOn(nn.Module):
    """Hands on whatever it is told."""

    timesteps, input_shape = STEPS, (6,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = Parts(nn.Linear(6, 8), Online(), nn.Linear(8, 8), Online())
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.features[0].weight.mul_(3)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.head(self.features(x, **kwargs))


class Jelly(Net):
    """Of spikingjelly: it resets itself."""

    kind = staticmethod(lambda: neuron.LIFNode(v_threshold=0.3))

    def forward(self, x: Tensor, reset_state: bool = False) -> Tensor:
        if reset_state:
            functional.reset_net(self)
        return self.head(self.b(self.fc2(self.a(self.fc1(x)))))


class Hidden(Net):
    """Of snntorch, with hidden membranes."""

    kind = staticmethod(lambda: snntorch.Leaky(beta=0.7, threshold=0.3, init_hidden=True))

    def forward(self, x: Tensor, first_step: bool) -> Tensor:
        if first_step:
            self.a.reset_mem()
            self.b.reset_mem()
        return self.head(self.b(self.fc2(self.a(self.fc1(x)))))


NETWORKS: dict[type[nn.Module], str] = {
    Optional: "init",
    Required: "init",
    TrueByDefault: "is_first",
    Keyword: "reset",
    HandedOn: "init",
    Jelly: "reset_state",
    Hidden: "first_step",
}
"""Each network with the argument that tells it."""


def run(net: nn.Module, frames: list[Tensor], name: str) -> Tensor:
    with torch.no_grad():
        return torch.stack([net(x, **{name: t == 0}) for t, x in enumerate(frames)]).mean(0)


@pytest.mark.sample(5)
@pytest.mark.parametrize("shown", ["static", "event"])
@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_the_first_step_of_every_sample_is_told(
    kind: type[nn.Module], shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    source = loaded(kind(), "net:make", tmp_path, input=shown)
    name = NETWORKS[kind]
    assert first_step_argument(kind()) == name
    assert f"its forward is told the first step of a run: {name}=True" in source.notes
    x = 2 * torch.rand(9, *((STEPS, 6) if shown == "event" else (6,)), generator=torch.Generator().manual_seed(1))
    expected = run(kind().eval(), list(x.unbind(1)) if shown == "event" else [x] * STEPS, name)
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    for _ in range(2):
        torch.testing.assert_close(source.run(x), expected)
    torch.testing.assert_close(source.program.run(x), expected)
    if shown == "static":
        verified(source, tmp_path, x, in_turn([each.__name__ for each in NETWORKS], kind.__name__)[:1])


class Brighter(Jelly):
    """Does more at the first step than begin."""

    def forward(self, x: Tensor, reset_state: bool = False) -> Tensor:
        return super().forward(2 * x if reset_state else x, reset_state)


class Afterwards(Jelly):
    """Forgets behind the step that it is told."""

    def forward(self, x: Tensor, reset_state: bool = False) -> Tensor:
        y = super().forward(x)
        if reset_state:
            functional.reset_net(self)
        return y


@pytest.mark.parametrize("kind", [Brighter, Afterwards])
def test_a_first_step_that_is_another_one_is_refused(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    with pytest.raises(Refused, match=r"at step [23]"):
        loaded(kind(), "net:make", tmp_path)


@pytest.mark.parametrize("network", [nn.Linear(2, 2), nn.Sequential(nn.ReLU())])
def test_a_network_that_is_told_nothing_has_no_such_argument(network: nn.Module) -> None:
    assert first_step_argument(network) is None
