"""Neurons of papers' code are found in a network, with the constants of their code; others are refused with the fact."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture import Interface
from snnconv.identify import Found, find
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import TimeContract
from snnconv.nn import LIF
from tests.identify import layers
from tests.identify.layers import Loop

SHAPE = (2, 6, 6)
STEPS = 4


class Around(nn.Module):
    """A convolution, a neuron and a head."""

    def __init__(self, neuron: nn.Module, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.lif, self.head, self.steps = nn.Conv2d(2, 4, 3, padding=1), neuron, nn.Linear(144, 5), forward
        self.timesteps = STEPS

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def repeated(axis: int) -> Callable[[Any, Tensor], Tensor]:
    """The image is repeated along a time axis."""

    def forward(m: Any, x: Tensor) -> Tensor:
        spikes = m.lif(torch.stack([m.conv(x)] * m.timesteps, axis))
        return m.head(spikes.mean(axis).flatten(1))

    return forward


def merged(m: Any, x: Tensor) -> Tensor:
    return m.head(m.lif(m.conv(x.repeat(m.timesteps, 1, 1, 1))).flatten(1)).view(m.timesteps, -1, 5).mean(0)


def per_step(m: Any, x: Tensor) -> Tensor:
    return m.head(m.lif(m.conv(x)).flatten(1))


def told_to_begin(m: Any, x: Tensor) -> Tensor:
    return torch.stack([m.head(m.lif(m.conv(x), init=t == 0).flatten(1)) for t in range(m.timesteps)]).sum(0)


def handed(m: Any, x: Tensor) -> Tensor:
    membrane, y = torch.zeros(x.shape[0], 4, 6, 6), torch.zeros(())
    for _ in range(m.timesteps):
        spikes, membrane = m.lif(m.conv(x), membrane)
        y = y + m.head(spikes.flatten(1))
    return y


def handed_both(m: Any, x: Tensor) -> Tensor:
    membrane = spikes = torch.zeros(x.shape[0], 4, 6, 6)
    y = torch.zeros(())
    for _ in range(m.timesteps):
        membrane, spikes = m.lif(m.conv(x), membrane, spikes)
        y = y + m.head(spikes.flatten(1))
    return y


def found_in(neuron: nn.Module, forward: Callable[[Any, Tensor], Tensor]) -> Found:
    torch.manual_seed(0)
    return find(Around(neuron, forward).eval().requires_grad_(False), TimeContract(STEPS, SHAPE))


STYLES: dict[str, tuple[nn.Module, Any, Interface, str]] = {
    "batch first": (
        layers.BatchFirst(),
        repeated(1),
        Interface(1),
        "leak 0.5, threshold 1, hard reset to 0, fires above it",
    ),
    "time last": (
        layers.TimeLast(),
        repeated(-1),
        Interface(-1),
        "leak 0.25, threshold 0.3, hard reset to 0, fires above it",
    ),
    "membrane norm": (
        layers.MembraneNormed(),
        repeated(0),
        Interface(0),
        "leak 0.25, threshold -0.312134..1.33018, hard reset to 0, fires on and above or, per channel, below it",
    ),
    "merged": (
        layers.Merged(),
        merged,
        Interface(0, merged=4, amplitude=1.5),
        "leak 1, threshold 0.75, soft reset by 1.5, fires above it, a spike is 1.5",
    ),
    "online": (
        layers.Online(),
        told_to_begin,
        Interface(),
        "leak 0.5, threshold 0.7, soft reset by 0.7, fires on and above it",
    ),
    "kept": (
        layers.Kept(),
        per_step,
        Interface(),
        "leak 0.6, threshold 0.875, hard reset to 0, fires above it",
    ),
    "handed in": (
        layers.Cell(),
        handed,
        Interface(None, 1),
        "leak 0.2..0.9, threshold 0.4..0.8, soft reset by 0.4..0.8, fires above it",
    ),
    "membrane first": (
        layers.MembraneFirst(),
        handed_both,
        Interface(None, 1, spikes_at=1),
        "leak 0.25, threshold 0.5, hard reset to 0, fires above it",
    ),
    "synaptic current": (
        layers.CurrentBased(),
        repeated(0),
        Interface(0),
        "synaptic current of which 0.6 is kept, leak 0.8, threshold 1, hard reset to 0, fires above it",
    ),
    "synaptic current, soft reset": (
        layers.CurrentBased(soft=True),
        repeated(0),
        Interface(0),
        "synaptic current of which 0.6 is kept, leak 0.8, threshold 1, soft reset by 1, fires above it",
    ),
    "per element": (
        layers.PerElement((4, 6, 6)),
        per_step,
        Interface(),
        "leak 0.9, threshold 0.501236..1.49707, hard reset to 0, fires above it",
    ),
}


@pytest.mark.parametrize("name", STYLES)
def test_a_neuron_is_found_with_the_constants_of_its_code(name: str) -> None:
    neuron, forward, interface, words = STYLES[name]
    found = found_in(copy.deepcopy(neuron), forward)
    assert found.facts == {} and list(found.neurons) == ["lif"]
    assert found.neurons["lif"].called == interface
    assert found.notes == (f"lif ({type(neuron).__name__}): identified by its behaviour: {words}",)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_it_spikes_as_its_code_does_bit_for_bit_in_both_types(name: str, dtype: torch.dtype) -> None:
    neuron, forward, interface, _ = STYLES[name]
    known = found_in(copy.deepcopy(neuron), forward).neurons["lif"].in_dtype(neuron, dtype)
    own = copy.deepcopy(neuron).eval().to(dtype).requires_grad_(False)
    steps = [torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(t)).to(dtype) for t in range(STEPS)]
    assert known.threshold.dtype == dtype
    assert all(torch.equal(a, b) for a, b in zip(spikes_of(known, steps), spikes_in(own, interface, steps), strict=True))


def spikes_of(neuron: Neuron, currents: list[Tensor]) -> list[Tensor]:
    state, spikes = None, []
    for t, current in enumerate(currents):
        _, fired, state = neuron.step(current, state, t)
        spikes.append(fired)
    return spikes


def spikes_in(layer: nn.Module, interface: Interface, currents: list[Tensor]) -> list[Tensor]:
    if interface.time_axis is not None:
        whole = interface.spikes(layer(interface.joined(currents)))
        return [step / interface.amplitude for step in interface.steps(whole)]
    held = isinstance(layer, layers.Cell | layers.MembraneFirst)
    states = (torch.zeros_like(currents[0]),) * (interface.states_returned + interface.spikes_at if held else 0)
    spikes = []
    for current in currents:
        returned = layer(current, *states)
        states = (returned if interface.spikes_at else returned[1:]) if held else ()
        spikes.append(interface.spikes(returned))
    return spikes


OTHERS = {
    "fires with values 0, 1, 2": Loop(layers.two_spikes),
    "fires with values -1, 0, 1": Loop(layers.ternary),
    "fires with any number of spikes at a step": Loop(layers.counted),
    "returns another value on its threshold than above and below it": Loop(layers.undecided),
    "draws random numbers, or remembers earlier samples": Loop(layers.drawn),
    "lets its neurons depend on each other": Loop(layers.lateral),
    "keeps more after a spike than a reset leaves (an adaptive threshold, a refractory period?)": Loop(layers.adaptive, 2),
    "does not fire at some steps whatever the current (a refractory period?)": Loop(layers.refractory, 2),
    "spikes late: its first spikes do not depend on its first current": Loop(layers.late),
    "carries no fixed share of its potential": Loop(layers.clamped),
    "keeps another share of its potential after a spike than without one": Loop(layers.partly_reset),
    "does not fire from one threshold on: it is silent again on stronger currents": Loop(layers.band),
    "carries more than one leaky potential": Loop(layers.second_order, 2),
}


@pytest.mark.parametrize("fact", OTHERS)
def test_what_is_no_canonical_neuron_is_named_with_the_fact(fact: str) -> None:
    found = found_in(copy.deepcopy(OTHERS[fact]), repeated(0))
    assert found.neurons == {} and found.facts == {"lif": fact}


@pytest.mark.parametrize("step", [layers.skipping, layers.tiring])
def test_a_neuron_that_does_otherwise_at_a_step_without_currents_or_with_spikes_everywhere_is_none(step: layers.Step) -> None:
    found = found_in(Loop(step), repeated(0))
    assert found.facts == {"lif": "does otherwise where all of its currents are 0, or all make it fire"}


def test_a_neuron_that_takes_little_of_its_current_is_one() -> None:
    note = "lif (Loop): identified by its behaviour: leak 0.5, threshold 1000, hard reset to 0, fires above it"
    assert found_in(Loop(layers.faint), repeated(0)).notes == (note,)


def test_a_neuron_that_does_otherwise_in_a_large_batch_is_none() -> None:
    assert found_in(Loop(layers.crowded), repeated(0)).facts == {"lif": "does otherwise in a batch of 144 than in one of 24"}


def test_layers_without_memory_without_spikes_or_with_an_adapter_are_left_alone() -> None:
    class Filter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(0)

    class Stateless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0.1).to(x.dtype)

    for layer in (Filter(), Stateless(), nn.ReLU()):
        assert found_in(layer, repeated(0)) == Found()
    assert found_in(LIF(), per_step) == Found()


def test_a_block_is_searched_for_the_neurons_inside_it() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), layers.Kept()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.norm(self.conv(x)))

    assert list(found_in(nn.Sequential(Block(), Block()), per_step).neurons) == ["lif.0.act", "lif.1.act"]


def test_a_norm_in_front_of_a_neuron_stays_a_norm() -> None:
    class NormAndFire(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.act = nn.BatchNorm2d(4), layers.Kept()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.norm(x))

    assert list(found_in(NormAndFire(), per_step).neurons) == ["lif.act"]


def test_the_network_is_left_as_it_was() -> None:
    net = Around(layers.Kept(), per_step).eval()
    before = dict(vars(net.lif)), net.lif.v.clone()
    find(net, TimeContract(STEPS, SHAPE))
    assert (dict(vars(net.lif)), net.lif.v) == before
    assert not net.conv._forward_hooks and not net.lif._forward_pre_hooks


def test_a_network_that_does_not_run_has_none() -> None:
    def fails(m: Any, x: Tensor) -> Tensor:
        raise RuntimeError("no")

    assert found_in(layers.Kept(), fails) == Found()


class Several(nn.Module):
    """Many neurons of a class with thresholds of their own, and one that resets in another way."""

    def __init__(self) -> None:
        super().__init__()
        thresholds = (0.5, 0.75, 1.0, 1.25, 1.5)
        self.first = nn.ModuleList([layers.BatchFirst(threshold) for threshold in thresholds])
        self.other = layers.CurrentBased(soft=True)

    def forward(self, x: Tensor) -> Tensor:
        for neuron in self.first:
            x = neuron(2 * x)
        return self.other(2 * x.transpose(0, 1))


def test_neurons_of_a_class_have_one_note() -> None:
    found = find(Several(), TimeContract(STEPS, (3, 4, 4)))
    assert len(found.neurons) == 6
    first, other = found.notes
    assert first == (
        "first.0, first.1 and 3 more (BatchFirst): identified by their behaviour: leak 0.5, threshold 0.5..1.5, "
        "hard reset to 0, fires above it"
    )
    assert other.startswith("other (CurrentBased): identified by its behaviour: synaptic current of which ")
