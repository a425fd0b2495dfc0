"""Neurons of snntorch that feed their spikes back or filter their currents, by snntorch's own forward, trained a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import snntorch
import snntorch.utils
import torch
from torch import Tensor, nn

from snnconv.adapters import neurons_of, registration
from snnconv.capture import Feedback
from snnconv.errors import Refused
from snnconv.ir.program import Driven
from snnconv.sources import Source
from tests.adapters.conversions import in_turn, loaded, mixed_signs, trained, verified

T = 4
CONV = {"conv2d_channels": 6, "kernel_size": 3}
ALONE: dict[str, Any] = {"all_to_all": False}
EACH = torch.linspace(-0.6, 0.6, 6).view(6, 1, 1)
NEURONS: dict[str, Callable[..., nn.Module]] = {
    "conv": lambda **given: snntorch.RLeaky(0.8, **CONV, threshold=0.5, **given),
    "alone": lambda **given: snntorch.RLeaky(0.8, V=0.4, **ALONE, threshold=0.5, **given),
    "alone_each": lambda **given: snntorch.RLeaky(0.8, V=EACH, learn_recurrent=False, **ALONE, threshold=0.5, **given),
    "zero_at_once": lambda **given: snntorch.RLeaky(0.8, **CONV, reset_mechanism="zero", reset_delay=False, **given),
    "none": lambda **given: snntorch.RLeaky(0.5, V=-0.7, **ALONE, reset_mechanism="none", **given),
    "synaptic": lambda **given: snntorch.RSynaptic(0.6, 0.8, **CONV, threshold=0.5, **given),
    "synaptic_alone": lambda **given: snntorch.RSynaptic(0.6, 0.8, V=-0.4, **ALONE, **given),
    "synaptic_none": lambda **given: snntorch.RSynaptic(0.4, 0.5, **CONV, reset_mechanism="none", **given),
    "alpha": lambda **given: snntorch.Alpha(0.9, 0.8, threshold=0.1, **given),
    "alpha_soft": lambda **given: snntorch.Alpha(0.9, 0.5, threshold=0.1, reset_mechanism="subtract", **given),
    "alpha_none": lambda **given: snntorch.Alpha(EACH / 4 + 0.8, 0.4, threshold=0.1, reset_mechanism="none", **given),
}


def hidden(name: str) -> nn.Module:
    """The layers keep their spikes and potentials."""
    last = snntorch.RLeaky(0.7, linear_features=10, threshold=0.5, init_hidden=True)
    neuron = NEURONS[name](init_hidden=True)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), neuron, nn.Flatten(), nn.Linear(96, 10), last)


class Handed(nn.Module):
    """Spikes and potentials are handed in and returned."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.lif1 = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), NEURONS["conv"]()
        self.fc, self.lif2 = nn.Linear(96, 10), snntorch.RSynaptic(0.5, 0.7, linear_features=10, threshold=0.5)
        self.head = nn.Linear(10, 10)

    def fed_back(self, spikes: Tensor) -> Tensor:
        return spikes

    def forward(self, x: Tensor, spk1: Tensor, mem1: Tensor, spk2: Tensor, syn2: Tensor, mem2: Tensor) -> tuple[Tensor, ...]:
        spk1, mem1 = self.lif1(self.norm(self.conv(x)), self.fed_back(spk1), mem1)
        spk2, syn2, mem2 = self.lif2(self.fc(spk1.flatten(1)), spk2, syn2, mem=mem2)
        y = self.head(spk2)
        return spk1, mem1, spk2, syn2, mem2, y


class Filtered(nn.Module):
    """The same with the filtered currents of `Alpha`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif1, self.head = nn.Conv2d(2, 6, 3), NEURONS["alpha"](), nn.Linear(96, 10)

    def forward(self, x: Tensor, syn_exc: Tensor, syn_inh: Tensor, mem: Tensor) -> tuple[Tensor, ...]:
        spk, syn_exc, syn_inh, mem = self.lif1(self.conv(x), syn_exc, syn_inh, mem)
        y = self.head(spk.flatten(1))
        return syn_exc, syn_inh, mem, y


class Looping(Handed):
    """Loops over the time steps by itself."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        states: list[Tensor] = [*self.lif1.init_rleaky(), *self.lif2.init_rsynaptic()]
        outputs = []
        for _ in range(T):
            *states, y = super().forward(x, *states)
            outputs.append(y)
        return torch.stack(outputs).mean(0)


class Cut(Handed):
    """Hands its first layer other spikes than its own."""

    def fed_back(self, spikes: Tensor) -> Tensor:
        return spikes * 0


NETWORKS: dict[str, Callable[[], nn.Module]] = {name: lambda name=name: hidden(name) for name in NEURONS}
NETWORKS |= {kind.__name__.lower(): kind for kind in (Handed, Looping, Filtered)}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    net: Any = mixed_signs(Cut() if name == "cut" else NETWORKS[name]())
    net.timesteps, net.input_shape = T, (2, 6, 6)
    return net


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """The factories, by name, as `--arch` finds them."""
    if name not in (*NETWORKS, "cut"):
        raise AttributeError(name)
    return lambda: made(name)


def run(net: Any, x: Tensor) -> Tensor:
    """The loops of snntorch's documentation."""
    snntorch.utils.reset(net)
    for layer in net.modules():
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()
    if isinstance(net, Looping):
        return net(x)
    if isinstance(net, nn.Sequential):
        return torch.stack([net(x) for _ in range(T)]).mean(0)
    states = [state for name, layer in net.named_children() if name.startswith("lif") for state in layer.reset_mem()]
    outputs = []
    for _ in range(T):
        *states, y = net(x, *states)
        outputs.append(y)
    return torch.stack(outputs).mean(0)


def images(count: int = 20) -> Tensor:
    return torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def source_of(name: str, folder: Path) -> Source:
    return loaded(trained(made(name), run, images()), f"{__name__}:{name}", folder)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_spike_is_snntorchs(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    assert "5.spikes" in source.program.memories or "lif1.spikes" in source.program.memories
    for found in verified(source, tmp_path, images(), in_turn(NETWORKS, name)):
        for tally in found.layers:
            assert tally.name not in source.program.neurons or 0 < tally.spikes_reference < tally.values


@pytest.mark.parametrize("name", ["synaptic", "handed", "looping", "alpha", "filtered"])
def test_the_reference_is_snntorchs_own_loop(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    for count in (5, 3):
        with torch.no_grad():
            torch.testing.assert_close(source.run(images(count)), run(source.module, images(count)), rtol=1e-6, atol=0)
        torch.testing.assert_close(source.program.run(images(count)), source.run(images(count)), rtol=1e-4, atol=1e-5)


def test_a_filter_goes_on_with_the_spikes_that_take_the_place_of_its_own(tmp_path: Path) -> None:
    source = source_of("alpha", tmp_path)

    def arrivals(start: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def drive(neuron: str, current: Tensor, spikes: Tensor) -> Driven | None:
            if neuron != "2":
                return None
            seen.append(current)
            return Driven(start if len(seen) == 2 else torch.zeros_like(spikes), current)

        source.run(images(2), drive)
        return torch.stack(seen)

    silent, reset = arrivals(torch.zeros(2, 6, 4, 4)), arrivals(torch.ones(2, 6, 4, 4))
    torch.testing.assert_close(reset[:2], silent[:2])
    assert not reset[2].any() and silent[2].any(), "a reset takes everything away"


@pytest.mark.parametrize("name", ["conv", "handed", "looping"])
def test_what_is_fed_back_are_the_spikes_that_take_the_place_of_its_own(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    first = next(iter(source.program.neurons))

    def currents(start: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def drive(neuron: str, current: Tensor, spikes: Tensor) -> Driven | None:
            if neuron != first:
                return None
            seen.append(current)
            return Driven(start if len(seen) == 1 else torch.zeros_like(spikes), current)

        source.run(images(2), drive)
        return torch.stack(seen)

    nothing, everything = currents(torch.zeros(2, 6, 4, 4)), currents(torch.ones(2, 6, 4, 4))
    operator: Any = source.module.get_submodule(first).recurrent
    added = operator(torch.ones(2, 6, 4, 4)) - operator(torch.zeros(2, 6, 4, 4))
    torch.testing.assert_close(everything[1] - nothing[1], added, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(everything[2:], nothing[2:])


@pytest.mark.parametrize("name", ["alpha", "filtered"])
def test_an_adapter_that_is_wrong_about_a_filter_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neurons_of(nn.Identity())
    known = registration.ADAPTERS[snntorch.Alpha]
    right: Any = known.dendrite

    def without_reset(layer: Any, x: Tensor, spikes: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        return right.current(layer, x, spikes * 0, *kept)

    monkeypatch.setitem(registration.ADAPTERS, snntorch.Alpha, replace(known, dendrite=replace(right, current=without_reset)))
    with pytest.raises(Refused, match=r"neuron (2|lif1) \(Alpha\) spikes otherwise than its adapter says"):
        source_of(name, tmp_path)


@pytest.mark.parametrize("feedback", [None, Feedback("recurrent", "mem")])
@pytest.mark.parametrize("name", ["conv", "synaptic"])
def test_an_adapter_that_is_wrong_about_what_is_fed_back_is_found(
    name: str, feedback: Feedback | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    neurons_of(nn.Identity())
    for kind in (snntorch.RLeaky, snntorch.RSynaptic):
        wrong = replace(registration.ADAPTERS[kind], dendrite=feedback)
        monkeypatch.setitem(registration.ADAPTERS, kind, wrong)
    with pytest.raises(Refused, match=r"neuron \d \(R\w+\) spikes otherwise than its adapter says"):
        source_of(name, tmp_path)


def test_a_network_that_hands_a_layer_other_spikes_than_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="what neuron lif1 is given at step 2 does not follow from that step alone"):
        source_of("cut", tmp_path)


@pytest.mark.parametrize("kind", [snntorch.RLeaky, snntorch.RSynaptic])
def test_a_delayed_reset_to_zero_is_refused_with_its_reason(kind: Any) -> None:
    leaks = (0.8,) if kind is snntorch.RLeaky else (0.5, 0.8)
    with pytest.raises(Refused, match=f"{kind.__name__} with a delayed reset to zero loses what arrives at that step"):
        neurons_of(nn.Sequential(kind(*leaks, **ALONE, reset_mechanism="zero", init_hidden=True)))


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_a_synaptic_neuron_that_resets_by_other_spikes_than_its_own_is_refused(mechanism: str) -> None:
    layer = snntorch.RSynaptic(0.5, 0.8, **ALONE, reset_mechanism=mechanism, reset_delay=False)
    with pytest.raises(Refused, match="resets by the spikes that it is handed, not by those that it fires; use reset_delay=True"):
        neurons_of(nn.Sequential(layer))
