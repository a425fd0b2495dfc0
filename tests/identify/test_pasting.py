"""The adapter that `inspect` prints, pasted, teaches what was identified."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from snnconv.adapters import interfaces_of, neurons_of, registration, teach
from snnconv.adapters.loading import load
from snnconv.identify import find
from snnconv.identify.pasting import adapters_to_paste
from snnconv.inspection import inspect
from snnconv.ir.program import TimeContract
from snnconv.report import terminal
from snnconv.sources import factory
from tests.adapters.conversions import loaded
from tests.identify import layers
from tests.identify.test_find import SHAPE, STEPS, Around, handed, per_step, repeated, told_to_begin


@pytest.fixture(autouse=True)
def _forget_adapters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    neurons_of(nn.Identity())  # those of frameworks are registered once and for all
    load()  # what registers later than this would be lost with the copy
    monkeypatch.setattr(registration, "ADAPTERS", dict(registration.ADAPTERS))
    yield


def identified(neuron: nn.Module, forward: Any) -> nn.Module:
    net = Around(neuron, forward).eval().requires_grad_(False)
    for path, known in find(net, TimeContract(STEPS, SHAPE)).neurons.items():
        teach(net.get_submodule(path), known)
    return net


TEXTS: dict[str, tuple[nn.Module, Any, str]] = {
    "constants of the layer": (
        layers.BatchFirst(0.4),
        repeated(1),
        "@adapter(BatchFirst, time_axis=1, reset=reset_with_network)\n"
        "def batch_first_neuron(layer):\n"
        "    return lif(layer.tau, layer.threshold, v_reset=0, strict=True)",
    ),
    "numbers": (
        layers.Online(),
        told_to_begin,
        "@adapter(Online, reset=reset_with_network)\n"
        "def online_neuron(layer):\n"
        "    return lif(0.5, 0.7, v_reset=None, strict=False)",
    ),
    "constants per channel": (
        layers.Cell(),
        handed,
        "@adapter(Cell, reset=reset_with_network, states=lambda layer: 1)\n"
        "def cell_neuron(layer):\n"
        "    return lif(layer.leak, layer.threshold, v_reset=None, strict=True)",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_an_adapter_that_is_pasted_teaches_what_was_identified(name: str) -> None:
    neuron, forward, text = TEXTS[name]
    net = identified(copy.deepcopy(neuron), forward)
    kind = type(neuron).__name__
    printed = adapters_to_paste(net)
    assert list(printed) == [kind] and printed[kind].endswith(text)
    exec(printed[kind], {kind: type(neuron)})
    fresh = Around(copy.deepcopy(neuron), forward)
    (taught,), (found,) = neurons_of(fresh).values(), neurons_of(net).values()
    assert (taught.soft, taught.strict) == (found.soft, found.strict)
    for field in ("leak", "threshold", "reset"):
        assert torch.allclose(getattr(taught, field), getattr(found, field).expand_as(getattr(taught, field)))
    assert interfaces_of(fresh)["lif"].time_axis == interfaces_of(net)["lif"].time_axis


@pytest.mark.parametrize("neuron", [layers.MembraneNormed(), layers.CurrentBased()], ids=["inverted", "synaptic current"])
def test_what_lif_cannot_say_is_not_printed(neuron: nn.Module) -> None:
    assert adapters_to_paste(identified(neuron, repeated(0))) == {}


def test_inspect_prints_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net: Any = Around(layers.Kept(), per_step)
    net.input_shape = SHAPE
    net.lif = layers.PerElement((1,))
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    found = inspect(loaded(net, "paper:net", tmp_path))
    assert "return lif(0.9, layer.threshold, v_reset=0, strict=True)" in found.adapters["PerElement"]
    printed = [str(part) for part in terminal.inspection("net.pth", found).renderables]
    assert found.adapters["PerElement"] + "\n" in printed
