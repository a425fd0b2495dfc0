"""Networks in the styles of papers' code convert without an adapter, and are what their own forward computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.sources import factory
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
    "handed in": (layers.Cell(), handed),
    "membrane first": (layers.MembraneFirst(), handed_both),
    "synaptic current": (layers.CurrentBased(), repeated(0)),
    "synaptic current, soft reset": (layers.CurrentBased(soft=True), repeated(0)),
    "per element": (layers.PerElement((4, 6, 6)), per_step),
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_network_in_the_style_of_a_paper_is_equivalent(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neuron, forward = PAPERS[name]
    torch.manual_seed(0)
    net = Paper(copy.deepcopy(neuron), normed(forward))
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    source = loaded(net, "paper:net", tmp_path)
    x = torch.rand(8, 2, 6, 6) * 3
    verified(source, tmp_path, x, in_turn(PAPERS, name))
