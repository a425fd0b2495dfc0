"""Where layers fire that are no canonical neurons: their comparisons become neurons, and decide as they did."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.identify.firing import Comparison, comparisons, split_off
from snnconv.ir.program import TimeContract
from tests.networks import captured

T = 5


class Refractory(nn.Module):
    """A neuron that keeps a potential and a term after each spike; `decide(self, u)` says when it fires."""

    def __init__(self, decide: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.decide, self.theta = decide, nn.Parameter(torch.tensor([0.3, 0.4, 0.5, 0.6]))
        self.u: Any = None
        self.after: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.u is None:
            self.u, self.after = torch.zeros_like(x), torch.zeros_like(x)
        self.u = 0.7 * self.u + x
        s = self.decide(self, self.u + self.after).to(x.dtype)
        self.after = 0.5 * self.after - s
        return s


DECISIONS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Comparison]] = {
    "from a number on": (lambda self, u: u >= 0.3, Comparison(0.3, False)),
    "above a number": (lambda self, u: torch.gt(u, 0.3), Comparison(0.3, True)),
    "number first": (lambda self, u: 0.3 <= u, Comparison(0.3, False)),  # noqa: SIM300
    "above 0": (lambda self, u: (u - self.theta).gt(0), Comparison(0.0, True)),
    "a threshold for each": (lambda self, u: u >= self.theta, Comparison(0.0, False)),
    "not below a number": (lambda self, u: ~(u < 0.3), Comparison(0.3, False)),
    "not up to a number": (lambda self, u: torch.le(u, 0.3).logical_not(), Comparison(0.3, True)),
    "less": (lambda self, u: torch.less(self.theta.expand_as(u), u), Comparison(0.0, True)),
    "adaptive": (lambda self, u: u > self.theta - 0.3 * self.after, Comparison(0.0, True)),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", DECISIONS)
def test_a_comparison_becomes_a_neuron_that_decides_alike(name: str) -> None:
    decide, comparison = DECISIONS[name]
    layer, whole = Refractory(decide), Refractory(decide)
    found = comparisons(lambda: copy.deepcopy(layer)(torch.zeros(23, 4)), 23)
    assert found == (comparison,)
    split_off(layer, found)
    assert [path for path, _ in adapters.neurons_of(layer).items()] == ["fires"]
    potentials: list[Tensor] = []
    layer.get_submodule("fires").register_forward_hook(lambda layer, inputs, output: potentials.append(inputs[0]))
    currents = torch.randn(T, 64, 4, generator=torch.Generator().manual_seed(0)).mul(4).round() / 4
    with torch.no_grad():
        for x in currents:
            spikes = layer(x)
            assert torch.equal(spikes, whole(x))
            assert 0 < spikes.mean() < 1
    assert len(potentials) == T


def test_two_comparisons_become_two_neurons_in_their_order() -> None:
    layer = Refractory(lambda self, u: (u > 0.3) & (u <= torch.ones_like(u)))
    found = comparisons(lambda: copy.deepcopy(layer)(torch.zeros(23, 4)), 23)
    split_off(layer, found)
    assert found == (Comparison(0.3, True), Comparison(0.0, False))
    assert list(adapters.neurons_of(layer)) == ["fires1", "fires2"]


class Network(nn.Module):
    def __init__(self, decide: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(6, 4), Refractory(decide), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.fc(x)))


class Looping(Network):
    """The same over all steps, forgetting at its start."""

    def forward(self, x: Tensor) -> Tensor:
        self.act.u = None
        return torch.stack([super(Looping, self).forward(x) for _ in range(T)]).mean(0)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", [Network, Looping])
@pytest.mark.parametrize("name", ["from a number on", "adaptive"])
def test_a_network_with_such_a_layer_keeps_its_memory(name: str, kind: type[Network]) -> None:
    torch.manual_seed(0)
    net = kind(DECISIONS[name][0]).eval()
    source = captured(copy.deepcopy(net), TimeContract(T, (6,)))
    assert list(source.program.neurons) == ["act.fires"]
    assert set(source.program.memories) == {"act.u", "act.after"}
    x = 4 * torch.rand(32, 6, generator=torch.Generator().manual_seed(1)) - 1
    with torch.no_grad():
        expected = net(x) if kind is Looping else torch.stack([net(x) for _ in range(T)]).mean(0)
    torch.testing.assert_close(source.program.run(x), expected)
    torch.testing.assert_close(source.run(x), expected, rtol=1e-6, atol=1e-7)
