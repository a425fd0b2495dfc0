"""Deep pre-activation residual networks with a norm on the postsynaptic potential convert without an adapter.

Leaky neurons are canonical. Spike response neurons are none: what they keep are states of their own, and their comparisons are
neurons without memory.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnconv.sources import Source, factory
from tests.adapters.conversions import in_turn, loaded, trained, verified
from tests.sources import psp_norm_style
from tests.sources.psp_norm_style import INPUT_SHAPE, NEURONS, STEPS, Deep, Step

KEPT = {"lif": 0, "exponential": 2, "alpha": 3}


def source_of(name: str, depth: int, kind: type[Deep], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The source of a network that was trained for some steps."""
    net = psp_norm_style.made(name, depth)
    images = torch.rand(8, *INPUT_SHAPE, generator=torch.Generator().manual_seed(2))
    trained(net.train(), lambda net, x: net(x), images, steps=3, rate=0.001)
    psp_norm_style.settled(net)
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: psp_norm_style.made(name, depth, kind))
    return loaded(net, "deep:net", folder)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, *INPUT_SHAPE, generator=torch.Generator().manual_seed(3))


def ensure_equivalent(source: Source, name: str, depth: int, folder: Path) -> None:
    program = source.program
    assert len(program.neurons) == depth
    assert len(program.memories) == KEPT[name] * depth
    assert program.contract.timesteps == STEPS
    net = psp_norm_style.made(name, depth)
    net.load_state_dict(torch.load(folder / "net.pth"))
    with torch.no_grad():
        y = net.eval()(images(8))
    assert torch.equal(source.run(images(8)), y), "the comparisons that were split off decide as the network's own"
    torch.testing.assert_close(program.run(images(8)), y, rtol=1e-4, atol=1e-5)
    found = verified(source, folder, images(8), in_turn(NEURONS, name))
    fired = [tally.spikes_reference for tally in found[0].layers if tally.name in program.neurons]
    assert len([spikes for spikes in fired if spikes]) > 0.8 * depth, "silent layers show nothing"


@pytest.mark.sample(1)
@pytest.mark.parametrize(("name", "kind"), [("lif", Deep), ("exponential", Step), ("exponential", Deep), ("alpha", Deep)])
def test_a_network_of_four_layers_is_equivalent(
    name: str, kind: type[Deep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_equivalent(source_of(name, 4, kind, tmp_path, monkeypatch), name, 4, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", NEURONS)
def test_a_network_of_110_layers_is_equivalent(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_equivalent(source_of(name, 110, Deep, tmp_path, monkeypatch), name, 110, tmp_path)
