"""Leaky neurons of snntorch, by snntorch's own forward: trained a few steps, converted, every spike compared over T = 8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import snntorch
import snntorch.utils
import torch
from torch import Tensor, nn

from snnconv.data import Data
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.runtimes import open_candidate
from snnconv.sources import Source, SourceOptions, load_source
from snnconv.verdict import judge
from snnconv.verify import verify

T = 8
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "subtract": lambda: snntorch.Leaky(0.8, 0.5, init_hidden=True),
    "zero": lambda: snntorch.Leaky(0.8, 0.5, init_hidden=True, reset_mechanism="zero"),
    "zero at once": lambda: snntorch.Leaky(0.8, 0.5, init_hidden=True, reset_mechanism="zero", reset_delay=False),
    "learned": lambda: snntorch.Leaky(torch.tensor([0.7]), 0.4, init_hidden=True, learn_beta=True, learn_threshold=True),
    "per channel": lambda: snntorch.Leaky(torch.linspace(-0.1, 1.1, 6).view(6, 1, 1), 0.5, init_hidden=True),
}


def network(neuron: Callable[[], nn.Module]) -> nn.Sequential:
    """A network as snntorch's tutorials build them, with a norm whose gammas have both signs."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), neuron(), nn.Flatten(), nn.Linear(96, 10), NEURONS["subtract"]())
    net = nn.Sequential(*layers)
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1.0, -1.0, 0.7, -0.4, 1.3, 0.9]))
    net.timesteps, net.input_shape = T, (2, 6, 6)
    return net


FACTORIES = {name: (lambda made=made: network(made)) for name, made in NEURONS.items()}
subtract, zero, zero_at_once, learned, per_channel = FACTORIES.values()


def trained(net: nn.Module) -> nn.Module:
    optimizer, x = torch.optim.Adam(net.parameters(), 0.01), torch.rand(16, 2, 6, 6)
    for _ in range(5):
        snntorch.utils.reset(net)
        spikes = torch.stack([net(x) for _ in range(T)]).mean(0)
        loss = nn.functional.cross_entropy(spikes, torch.arange(16) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def loaded(name: str, tmp_path: Path) -> Source:
    torch.save(trained(FACTORIES[name]()).state_dict(), tmp_path / "net.pth")
    return load_source(tmp_path / "net.pth", SourceOptions(arch=f"{__name__}:{name.replace(' ', '_')}"))


@pytest.mark.parametrize("name", NEURONS)
def test_every_spike_is_snntorchs(name: str, tmp_path: Path) -> None:
    source = loaded(name, tmp_path)
    x = torch.rand(20, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    for file, form in (("n.onnx", "sequence"), ("n.onnx", "step"), ("n.ts", "sequence"), ("n.ts", "step")):
        export(fold(source.program), tmp_path / file, format_of(tmp_path / file), form)
        found = verify(source, open_candidate(tmp_path / file), Data(x, None, "noise"), ("s", file))
        assert judge(found).equivalent, judge(found).faults
        assert all(0 < tally.spikes_reference < tally.values and not tally.unexplained for tally in found.layers[:-1])


def test_the_reference_is_snntorchs_own_loop(tmp_path: Path) -> None:
    source = loaded("learned", tmp_path)
    x = torch.rand(5, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    net: nn.Module = source.module
    for _ in range(2):
        snntorch.utils.reset(net)
        with torch.no_grad():
            expected: Tensor = torch.stack([net(x) for _ in range(T)]).mean(0)
        assert torch.equal(source.run(x), expected)


WRONG = {
    "keeps its membrane outside": lambda: snntorch.Leaky(0.8),
    "also returns its membrane": lambda: snntorch.Leaky(0.8, init_hidden=True, output=True),
    "lets only one neuron": lambda: snntorch.Leaky(0.8, init_hidden=True, inhibition=True),
    "quantises its membrane": lambda: snntorch.Leaky(0.8, init_hidden=True, state_quant=lambda u: u),
    "scales its spikes": lambda: snntorch.Leaky(0.8, init_hidden=True, graded_spikes_factor=2.0),
    "resets twice": lambda: snntorch.Leaky(0.8, init_hidden=True, reset_delay=False),
    "without a reset": lambda: snntorch.Leaky(0.8, init_hidden=True, reset_mechanism="none"),
}


@pytest.mark.filterwarnings("ignore:Inhibition")
@pytest.mark.parametrize("reason", WRONG)
def test_what_no_canonical_neuron_does_is_refused_with_its_reason(reason: str) -> None:
    from snnconv.adapters import known

    with pytest.raises(Refused, match=reason):
        known(nn.Sequential(WRONG[reason]()))


def test_a_checkpoint_with_another_reset_than_the_factory_is_refused(tmp_path: Path) -> None:
    torch.save(FACTORIES["zero"]().state_dict(), tmp_path / "net.pth")
    with pytest.raises(Refused, match="built with reset_mechanism='subtract', but the checkpoint says 'zero'"):
        load_source(tmp_path / "net.pth", SourceOptions(arch=f"{__name__}:subtract"))
