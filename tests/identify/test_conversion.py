"""Networks in the styles of papers' code convert without an adapter, and are what their own forward computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.sources import Source, factory, network
from tests.adapters.conversions import in_turn, loaded, verified
from tests.identify import layers
from tests.identify.test_find import STEPS, handed, handed_both, merged, per_step, repeated, told_to_begin


class Paper(nn.Module):
    """Convolution, norm, neuron, convolution, neuron, head."""

    input_shape = (2, 6, 6)

    def __init__(self, neuron: nn.Module, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.lif = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), neuron
        self.head, self.steps, self.timesteps = nn.Linear(144, 5), forward, STEPS

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def normed(forward: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """The forward with a batch norm behind the convolution."""

    class Behind:
        def __init__(self, net: Any) -> None:
            self.lif, self.head, self.timesteps = net.lif, net.head, net.timesteps
            self.conv = lambda x: net.bn(net.conv(x))

    return lambda m, x: forward(Behind(m), x)


PAPERS: dict[str, tuple[nn.Module, Any]] = {
    "batch first": (layers.BatchFirst(0.4), repeated(1)),
    "time last": (layers.TimeLast(), repeated(-1)),
    "membrane norm": (layers.MembraneNormed(), repeated(0)),
    "merged": (layers.Merged(), merged),
    "online": (layers.Online(), told_to_begin),
    "kept": (layers.Kept(), per_step),
    "preloaded": (layers.Preloaded(0.8), per_step),
    "primed": (layers.Primed(0.8), per_step),
    "handed in": (layers.Cell(), handed),
    "membrane first": (layers.MembraneFirst(), handed_both),
    "synaptic current": (layers.CurrentBased(), repeated(0)),
    "synaptic current, soft reset": (layers.CurrentBased(soft=True), repeated(0)),
    "per element": (layers.PerElement((4, 6, 6)), per_step),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", PAPERS)
def test_a_network_in_the_style_of_a_paper_is_equivalent(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neuron, forward = PAPERS[name]
    torch.manual_seed(0)
    net = Paper(copy.deepcopy(neuron), normed(forward))
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    source = loaded(net, "paper:net", tmp_path)
    x = torch.rand(8, 2, 6, 6) * 3
    verified(source, tmp_path, x, in_turn(PAPERS, name))


def test_a_layer_that_is_its_neuron_but_for_roundings_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that starts from half its threshold is a neuron with half of it in exact arithmetic, and not always in floats."""
    torch.manual_seed(0)
    net = Paper(layers.Preloaded(0.8), normed(per_step))

    def faithful(source: Source) -> Source:
        if "lif" in source.program.neurons:
            raise Refused("neuron lif (Preloaded) spikes otherwise than its adapter says", "")
        return source

    monkeypatch.setattr(network, "faithful", faithful)
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    source = loaded(net, "paper:net", tmp_path)
    assert "lif (Preloaded): taken as it is, what is kept from step to step being a state (lif.v)" in source.notes
    assert source.program.neurons.keys() == {"lif.fires"} and source.program.memories.keys() == {"lif.v"}
    verified(source, tmp_path, torch.rand(8, 2, 6, 6) * 3, (("n.onnx", "sequence"),))


class Places(nn.Module):
    """One neuron behind two convolutions and a norm of its channels, called for all steps at each place."""

    input_shape = (2, 6, 6)

    def __init__(self, neuron: nn.Module, axis: int) -> None:
        super().__init__()
        self.timesteps = STEPS
        self.convs = nn.ModuleList([nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)])
        self.bn, self.lif, self.head, self.axis = nn.BatchNorm2d(3), neuron, nn.Linear(144, 5), axis

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.stack([self.bn(self.convs[0](x))] * self.timesteps, self.axis)
        y = torch.stack([self.convs[1](spikes) for spikes in self.lif(y).unbind(self.axis)], self.axis)
        y = torch.stack([self.head(spikes.flatten(1)) for spikes in self.lif(y).unbind(self.axis)], self.axis)
        spikes: Tensor = self.lif(y)
        return spikes.mean(self.axis)


SHARED: dict[str, Callable[[], Places]] = {
    "batch first": lambda: Places(layers.BatchFirst(0.4), 1),
    "time last": lambda: Places(layers.TimeLast(), -1),
    "time first": lambda: Places(layers.CurrentBased(), 0),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SHARED)
def test_a_neuron_that_each_place_calls_for_all_steps_is_one_neuron_for_each_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = SHARED[name]()
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    x = torch.rand(8, 2, 6, 6) * 3
    expected = copy.deepcopy(net).eval()(x)
    source = loaded(net, "paper:net", tmp_path)
    assert list(source.program.neurons) == ["lif.0", "lif.1", "lif.2"]
    torch.testing.assert_close(source.run(x), expected)
    torch.testing.assert_close(source.program.run(x), expected)
    verified(source, tmp_path, x, in_turn(SHARED, name))


class KeepsItsPotential(nn.Module):
    """A loop over `x[:, t]` that goes on from the potential of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.membrane: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        for current in x.unbind(1):
            u = 0.5 * (self.membrane if getattr(self.membrane, "shape", None) == current.shape else 0.0) + current
            spikes.append((u > 0.4).to(x.dtype))
            self.membrane = u * (1 - spikes[-1])
        return torch.stack(spikes, 1)


def test_a_neuron_that_keeps_its_potential_from_place_to_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Places(KeepsItsPotential(), 1)
    net.convs[1], net.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
    net.head = nn.Linear(108, 5)
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    with pytest.raises(Refused, match="lif"):
        loaded(net, "paper:net", tmp_path)


class CountedSteps(nn.Module):
    """A neuron of the steps that it was made for, of currents `[T, B, C, H, W]` alone."""

    def forward(self, x: Tensor) -> Tensor:
        _, _, _, _, _ = x.shape
        spikes, v = [], torch.zeros_like(x[0])
        for t in range(STEPS):
            spike, v = self.step(x[t], v)
            spikes.append(spike)
        return torch.stack(spikes)

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Drawing(CountedSteps):
    """It draws how much it fires."""

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        spike, v = layers.ternary(x, v)
        return spike * torch.randint(1, 3, spike.shape), v


class Counting(CountedSteps):
    """It fires as often as its potential says."""

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = 0.5 * v + x
        return v.relu().floor(), v - v.relu().floor()


@pytest.mark.parametrize(
    ("neuron", "what"),
    [
        (Drawing(), r"draws random numbers at inference, in test_conversion\.py line \d+ \(return spike \* torch\.randint"),
        (Counting(), r"lif \(Counting\) is no neuron that snnconv knows: it fires with any number of spikes at a step"),
    ],
)
def test_a_network_whose_neurons_are_of_another_kind_is_refused_with_what_they_do(
    neuron: nn.Module, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Paper(neuron, repeated(0))
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    with pytest.raises(Refused, match=what):
        loaded(net, "paper:net", tmp_path)


class WrittenOut(nn.Module):
    """Its neuron is written out in its forward, without a comparison, and the potential an attribute."""

    input_shape = (2, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head, self.timesteps = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(144, 5), STEPS

    def forward(self, x: Tensor) -> Tensor:
        self.membrane, y = torch.zeros(x.shape[0], 4, 6, 6), torch.zeros(x.shape[0], 5)
        for _ in range(self.timesteps):
            self.membrane = 0.9 * self.membrane + self.conv(x)
            spikes = (self.membrane - 0.4).sigmoid().round()
            self.membrane = self.membrane - 0.4 * spikes
            y = y + self.head(spikes.flatten(1))
        return y


def test_a_neuron_without_a_comparison_that_is_written_out_in_the_forward_is_asked_for_as_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = WrittenOut()
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    with pytest.raises(Refused, match=r"the network \(WrittenOut\) keeps a state.*; make each neuron .* a layer of its own"):
        loaded(net, "paper:net", tmp_path)
