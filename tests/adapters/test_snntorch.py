"""Leaky neurons of snntorch, by snntorch's own forward: trained a few steps, converted, every spike compared over T = 8."""

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
from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.inspection import inspect
from snnconv.results.verdict import judge
from snnconv.sources import Source
from snnconv.verify import Reference, verify
from tests.adapters.conversions import in_turn, loaded, mixed_signs, trained, verified

T = 8
NEURONS: dict[str, Callable[..., nn.Module]] = {
    "subtract": lambda **given: snntorch.Leaky(0.8, 0.5, **given),
    "zero": lambda **given: snntorch.Leaky(0.8, 0.5, reset_mechanism="zero", **given),
    "zero_at_once": lambda **given: snntorch.Leaky(0.8, 0.5, reset_mechanism="zero", reset_delay=False, **given),
    "none": lambda **given: snntorch.Leaky(0.8, 0.7, reset_mechanism="none", **given),
    "none_at_once": lambda **given: snntorch.Leaky(0.8, 0.7, reset_mechanism="none", reset_delay=False, **given),
    "synaptic": lambda **given: snntorch.Synaptic(0.6, 0.8, 0.5, **given),
    "synaptic_zero": lambda **given: snntorch.Synaptic(0.6, 0.8, 0.5, reset_mechanism="zero", reset_delay=False, **given),
    "synaptic_none": lambda **given: snntorch.Synaptic(0.6, 0.5, 0.9, learn_alpha=True, reset_mechanism="none", **given),
    "learned": lambda **given: snntorch.Leaky(torch.tensor([0.7]), 0.4, learn_beta=True, learn_threshold=True, **given),
    "lapicque": lambda **given: snntorch.Lapicque(0.6, threshold=0.5, **given),
    "lapicque_none": lambda **given: snntorch.Lapicque(R=2.0, C=1.5, threshold=0.4, reset_mechanism="none", **given),
    "per_channel": lambda **given: snntorch.Leaky(torch.linspace(-0.1, 1.1, 6).view(6, 1, 1), 0.5, **given),
}


class Handed(nn.Module):
    """As snntorch's documentation has it: the membranes are handed in and returned."""

    def __init__(self, neuron: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.conv, self.norm, self.lif1 = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), neuron()
        self.head, self.lif2 = nn.Linear(96, 10), NEURONS["subtract"]()

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spk1, mem1 = self.lif1(self.norm(self.conv(x)), mem1)
        spk2, mem2 = self.lif2(self.head(spk1.flatten(1)), mem2)
        return mem1, mem2, spk2


class Synapses(nn.Module):
    """The same with synaptic currents."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.lif1 = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), NEURONS["synaptic"]()
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor, syn1: Tensor, mem1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spk1, syn1, mem1 = self.lif1(self.norm(self.conv(x)), syn1, mem1)
        y = self.head(spk1.flatten(1))
        return syn1, mem1, y


class Through(nn.Module):
    """A batch norm per time step, which the number of the step picks."""

    def __init__(self, steps: int = T) -> None:
        super().__init__()
        self.conv, self.norm1, self.lif1 = nn.Conv2d(2, 6, 3), snntorch.BatchNormTT2d(6, steps), NEURONS["subtract"]()
        self.fc, self.norm2, self.lif2 = nn.Linear(96, 20), snntorch.BatchNormTT1d(20, steps), NEURONS["zero"]()
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor, step: int, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spk1, mem1 = self.lif1(self.norm1[step](self.conv(x)), mem1)
        spk2, mem2 = self.lif2(self.norm2[step](self.fc(spk1.flatten(1))), mem2)
        y = self.head(spk2)
        return mem1, mem2, y


class Unnamed(Handed):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> Any:
        return tuple(super().forward(x, mem1, mem2))


class Looping(Handed):
    """Loops over the time steps by itself."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        mem1, mem2, spikes = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for _ in range(T):
            mem1, mem2, spike = super().forward(x, mem1, mem2)
            spikes.append(spike)
        return torch.stack(spikes).mean(0)


def hidden(name: str) -> nn.Module:
    """As snntorch's tutorials have it: the layers keep their membranes."""
    neuron, last = NEURONS[name](init_hidden=True), NEURONS["subtract"](init_hidden=True)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), neuron, nn.Flatten(), nn.Linear(96, 10), last)


NETWORKS: dict[str, Callable[[], nn.Module]] = {f"hidden_{name}": lambda name=name: hidden(name) for name in NEURONS}
NETWORKS |= {f"handed_{name}": lambda name=name: Handed(NEURONS[name]) for name in ("subtract", "zero", "none")}
NETWORKS |= {"handed_synapses": Synapses, "through_time": Through}
NETWORKS |= {kind.__name__.lower(): lambda kind=kind: kind(NEURONS["subtract"]) for kind in (Unnamed, Looping)}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    net: Any = mixed_signs(NETWORKS[name]())
    net.timesteps, net.input_shape = T, (2, 6, 6)
    return net


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """The factories, by name, as `--arch` finds them."""
    if name not in NETWORKS:
        raise AttributeError(name)
    return lambda: made(name)


def run(net: nn.Module, x: Tensor) -> Tensor:
    """The loops of snntorch's tutorials."""
    snntorch.utils.reset(net)
    if isinstance(net, Looping):
        return net(x)
    if isinstance(net, nn.Sequential):
        return torch.stack([net(x) for _ in range(T)]).mean(0)
    first, second = net.lif1.reset_mem() if isinstance(net, Synapses) else (net.lif1.reset_mem(), net.lif2.reset_mem())
    spikes = []
    for step in range(T):
        number = (step,) if isinstance(net, Through) else ()
        first, second, spike = net(x, *number, first, second)
        spikes.append(spike)
    return torch.stack(spikes).mean(0)


def images(count: int = 20) -> Tensor:
    return torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def source_of(name: str, folder: Path) -> Source:
    return loaded(trained(made(name), run, images()), f"{__name__}:{name}", folder)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_spike_is_snntorchs(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    for found in verified(source, tmp_path, images(), in_turn(NETWORKS, name)):
        assert all(0 < tally.spikes_reference < tally.values for tally in found.layers[:-1])


@pytest.mark.parametrize("name", ["hidden_learned", "handed_zero"])
def test_the_reference_is_snntorchs_own_loop(name: str, tmp_path: Path) -> None:
    source = source_of(name, tmp_path)
    for count in (5, 3):
        with torch.no_grad():
            torch.testing.assert_close(source.run(images(count)), run(source.module, images(count)), rtol=1e-6, atol=0)


def test_a_synaptic_current_that_decays_otherwise_is_found(tmp_path: Path) -> None:
    source = source_of("hidden_synaptic", tmp_path)
    export(fold(source.program), tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"), "step")
    candidate = open_candidate(tmp_path / "n.onnx").load()
    off = torch.nextafter(candidate.constants()["2.synaptic_decay"], torch.tensor(1.0))
    found = judge(
        verify(Reference(source), candidate.with_constants({"2.synaptic_decay": off}), Data(images(), None, "noise"), ("s", "n"))
    )
    assert [fault.layer for fault in found.faults] == ["2"], "one unit in the last place: the proof alone"
    found = judge(
        verify(
            Reference(source),
            candidate.with_constants({"2.synaptic_decay": off + 0.01}),
            Data(images(), None, "noise"),
            ("s", "n"),
        )
    )
    assert {"proof", "deployment"} <= {fault.level for fault in found.faults}


def test_an_adapter_that_forgets_the_synapse_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neurons_of(nn.Identity())
    forgetful = replace(registration.ADAPTERS[snntorch.Synaptic], neuron=registration.ADAPTERS[snntorch.Leaky].neuron)
    monkeypatch.setitem(registration.ADAPTERS, snntorch.Synaptic, forgetful)
    with pytest.raises(Refused, match=r"neuron 2 \(Synaptic\) spikes otherwise than its adapter says, first at step 2"):
        source_of("hidden_synaptic", tmp_path)


def test_a_neuron_without_a_reset_takes_no_part_of_the_graph_for_it(tmp_path: Path) -> None:
    source = source_of("hidden_none", tmp_path)
    export(fold(source.program), tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"), "step")
    assert "no reset" in inspect(source).neurons[0].words
    assert b"2.reset" not in (tmp_path / "n.onnx").read_bytes()


def test_norms_for_fewer_steps_than_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        Refused, match="a list of BatchNorm2d holds constants for 8 time steps, not for 9; give --timesteps 8 or fewer"
    ):
        loaded(made("through_time"), f"{__name__}:through_time", tmp_path, timesteps=9)


WRONG = {
    "lets only one neuron": lambda: snntorch.Leaky(0.8, init_hidden=True, inhibition=True),
    "quantises its membrane": lambda: snntorch.Leaky(0.8, init_hidden=True, state_quant=lambda u: u),
    "scales its spikes": lambda: snntorch.Leaky(0.8, init_hidden=True, graded_spikes_factor=2.0),
    "resets twice": lambda: snntorch.Leaky(0.8, init_hidden=True, reset_delay=False),
    "loses what arrives at that step": lambda: snntorch.Synaptic(0.5, 0.8, reset_mechanism="zero", init_hidden=True),
    "Lapicque with a reset to zero loses": lambda: snntorch.Lapicque(0.6, reset_mechanism="zero", init_hidden=True),
    "does not fire spikes of 0 and 1": lambda: snntorch.Leaky(0.8, init_hidden=True, spike_grad=torch.sigmoid),
}


@pytest.mark.filterwarnings("ignore:Inhibition")
@pytest.mark.parametrize("reason", WRONG)
def test_what_no_canonical_neuron_does_is_refused_with_its_reason(reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        neurons_of(nn.Sequential(WRONG[reason]()))


def test_what_the_checkpoint_has_otherwise_than_the_factory_holds_and_is_told(tmp_path: Path) -> None:
    net = made("hidden_zero")
    net[2].threshold.fill_(0.4)
    source = loaded(net, f"{__name__}:hidden_subtract", tmp_path)
    assert source.notes == (
        "2.threshold is 0.5 in the factory and 0.4 in the checkpoint, which holds",
        "2.reset_mechanism is 'subtract' in the factory and 'zero' in the checkpoint, which holds",
    )
    with torch.no_grad():
        torch.testing.assert_close(source.run(images()), run(net.eval(), images()), rtol=1e-6, atol=0)
    (found,) = verified(source, tmp_path, images(), (("n.onnx", "sequence"),))
    assert set(source.notes) <= set(found.notes)
