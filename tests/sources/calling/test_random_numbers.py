"""A forward that draws random numbers is refused with its line, wherever they come from and however rarely they matter."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from snntorch import spikegen
from spikingjelly.activation_based import encoding, functional, neuron
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.sources import Source
from tests.adapters.conversions import loaded

of_torch, of_numpy, legacy, of_python = (
    torch.Generator().manual_seed(0),
    np.random.default_rng(0),
    np.random.RandomState(0),
    random.Random(0),
)


class Net(nn.Module):
    """A neuron between linear layers; `noisy` changes its input."""

    timesteps, input_shape = 4, (6,)
    noisy: Callable[[Any, Tensor], Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif, self.fc2 = nn.Linear(6, 8), neuron.LIFNode(v_threshold=0.2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = type(self).noisy(self, x)
        return self.fc2(self.lif(self.fc1(x)))


class Whole(Net):
    """The same, over all steps."""

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        return sum(super(Whole, self).forward(x) for _ in range(4))  # type: ignore[return-value]


def helper(x: Tensor) -> Tensor:
    return x * 2 if of_numpy.random() < 1e-9 else x


DRAWN: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "python": (lambda m, x: x * 2 if random.random() < 1e-9 else x, "random.random()"),
    "numpy": (lambda m, x: x * 2 if np.random.rand() < 1e-9 else x, "np.random.rand()"),
    "a constant of numpy": (lambda m, x: x + 1e-9 * torch.from_numpy(np.random.rand(6)).float(), "np.random.rand(6)"),
    "a generator of python": (lambda m, x: x * 2 if of_python.random() < 1e-9 else x, "of_python.random()"),
    "a generator of numpy": (lambda m, x: helper(x), "of_numpy.random()"),
    "an old generator of numpy": (lambda m, x: x * 2 if legacy.rand() < 1e-9 else x, "legacy.rand()"),
    "a generator of torch": (lambda m, x: x + 1e-9 * torch.rand(x.shape, generator=of_torch), "generator=of_torch"),
    "a held generator": (lambda m, x: x * 2 if m.generator.random() < 1e-9 else x, "m.generator.random()"),
    "dropout": (lambda m, x: nn.functional.dropout(x, 1e-6, training=True), "dropout(x, 1e-6"),
    "a threshold": (lambda m, x: x * (torch.rand_like(x) > 1e-9), "torch.rand_like(x)"),
    "a branch": (lambda m, x: x * 2 if torch.rand(1).item() < 1e-9 else x, "torch.rand(1)"),
    "in place": (lambda m, x: x + 1e-9 * torch.empty_like(x).normal_(), ".normal_()"),
    "a permutation": (lambda m, x: x[:, torch.randperm(6)], "torch.randperm(6)"),
    "spikingjelly": (lambda m, x: encoding.PoissonEncoder()(x), "encoding.PoissonEncoder()(x)"),
    "snntorch": (lambda m, x: spikegen.rate_conv(x), "spikegen.rate_conv(x)"),
}


def source_of(base: type[Net], noisy: Callable[[Any, Tensor], Tensor], monkeypatch: Any, folder: Path) -> Source:
    def make() -> nn.Module:
        net = type("Noisy", (base,), {"noisy": noisy})()
        net.generator = np.random.default_rng(1)
        return net

    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: make)
    return loaded(make(), "net:make", folder)


@pytest.mark.parametrize("name", DRAWN)
def test_a_forward_that_draws_is_refused_with_its_line(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noisy, line = DRAWN[name]
    base = (Net, Whole)[list(DRAWN).index(name) % 2]
    with pytest.raises(
        Refused, match=r"the network draws random numbers at inference, in test_random_numbers.py line \d+"
    ) as seen:
        source_of(base, noisy, monkeypatch, tmp_path)
    assert line in str(seen.value)
    assert seen.value.todo == "take them out of its forward: an artifact does not draw the same ones"


CERTAIN: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "in training alone": lambda m, x: nn.functional.dropout(x, 0.5, m.training),
    "a generator that is left alone": lambda m, x: x if m.generator is of_numpy else 1.5 * x,
    "numbers that were drawn before": lambda m, x: x + NOISE,
}
NOISE = torch.rand(6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", CERTAIN)
def test_one_that_does_not_draw_converts(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = source_of(Net, CERTAIN[name], monkeypatch, tmp_path)
    x = torch.rand(5, 6)
    torch.testing.assert_close(source.program.run(x), source.run(x))


def test_numbers_of_the_user_are_drawn_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Loading a network touches no generator but those of its forward."""
    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tobytes()
    source_of(Net, CERTAIN["numbers that were drawn before"], monkeypatch, tmp_path)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before
