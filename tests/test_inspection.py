"""What `inspect` says about a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.export import FORMATS
from snnconv.inspection import inspect, inspect_unknown, words
from snnconv.nn import LIF, MPBN, PSPNorm
from snnconv.results import NormStatistics
from snnconv.sources import SourceOptions, UnknownLayers, load_source
from tests.networks import SHAPE, per_channel, source_of


def test_semantics_are_told_in_words() -> None:
    assert words(LIF(norm=MPBN(4)).neuron()) == "leak 0.25, fires on MPBN(u) > 0.5 per channel, hard reset to 0"
    assert words(LIF(leak=1.0, threshold=1.0, reset="soft", strict=False).neuron()) == "leak 1, fires on u >= 1, soft reset by 1"
    per_element = LIF(leak=torch.tensor([0.5, 0.9]).view(2, 1, 1), v_reset=0.5, norm=MPBN((2, 3, 3)))
    assert words(per_element.neuron()) == "leak 0.5..0.9, fires on MPBN(u) > 0.5 per element, hard reset to 0.5"


def test_a_normalised_state_is_told_in_words() -> None:
    told = words(LIF(norm=PSPNorm(4), carry_normalised=True).neuron())
    assert told == "leak 0.25, fires on PSPNorm(u) > 0.5 per channel, hard reset to 0, carries PSPNorm(u)"


def test_statistics_count_what_a_fold_has_to_care_about() -> None:
    net = per_channel()
    with torch.no_grad():
        net.bn2.weight.copy_(torch.tensor([-1.0, -0.5, 0.0, 1.0, 2.0, 3.0]))
        net.bn2.running_var.copy_(torch.tensor([0.0, 1e-5, 1e-3, 1.0, 1.0, 4.0]))
        net.bn2.running_mean.copy_(torch.tensor([-3.0, 0.0, 0.0, 0.0, 0.0, 2.0]))
    site = next(site for site in inspect(source_of(net)).sites if site.path == "bn2")
    assert site.statistics == NormStatistics(6, (-1.0, 3.0), (-3.0, 2.0), (0.0, 4.0), 2, 1, 2)


def test_every_norm_has_its_site() -> None:
    found = inspect(source_of(per_channel()))
    assert {site.path for site in found.sites} == {"bn1", "bn2", "sum_norm", "act1", "act2", "act3"}
    assert found.folds


def test_what_can_hold_the_network_is_told_before_anything_is_converted() -> None:
    assert set(inspect(source_of(per_channel())).formats.items()) >= {("onnx", ""), ("torchscript", "")}


def test_a_format_that_cannot_hold_the_network_is_told_with_the_reason() -> None:
    def refuse(export: object) -> bytes:
        raise Refused("an operator has no translation", "choose another format")

    FORMATS.register("unable", replace(FORMATS["onnx"], name="unable", encode=refuse))
    try:
        found = inspect(source_of(per_channel()))
    finally:
        FORMATS.discard("unable")
    assert found.formats["unable"] == "an operator has no translation; choose another format"


def test_a_refused_norm_is_listed_and_not_raised() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), LIF(), nn.Flatten(), nn.Linear(144, 3))
    found = inspect(source_of(net, shape=SHAPE))
    assert not found.folds
    assert [(site.kind, site.outcome) for site in found.sites] == [("GroupNorm", "refused")]


class Exponential(nn.Module):
    """An operator of which no rounding rule is known, before the second neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = LIF(), LIF()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).exp() - 1).flatten(1)


def test_a_note_names_the_layers_whose_rounding_bound_will_be_measured() -> None:
    (note,) = inspect(source_of(Exponential())).notes
    assert note == "the rounding bound of second will be measured: no rule is known for aten.exp.default"
    assert inspect(source_of(per_channel())).notes == ()


class Half(nn.Module):
    """Nobody taught this neuron, which spikes twice on strong currents and branches on what it keeps."""

    def forward(self, x: Tensor) -> Tensor:
        self.v = getattr(self, "v", torch.zeros_like(x)) / 2 + x
        if bool(self.v.isnan().any()):
            raise ValueError("not a number")
        return (self.v > 0.5).to(x.dtype) + (self.v > 1).to(x.dtype)


def untaught() -> nn.Module:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(2, 4, 3), Half(), nn.Conv2d(4, 4, 3), LIF(), Half(), nn.Flatten(), nn.Linear(64, 3))
    net.input_shape = (2, 8, 8)
    return net


def test_layers_that_nobody_taught_are_all_listed_beside_the_neurons_that_are_known(tmp_path: Path) -> None:
    torch.save(untaught().state_dict(), tmp_path / "net.pth")
    with pytest.raises(
        UnknownLayers, match=r"1 \(Half\) keeps a state.*so do 1 more layers; it cannot be taken as it is"
    ) as error:
        load_source(tmp_path / "net.pth", SourceOptions(arch=f"{__name__}:untaught"))
    found = inspect_unknown(error.value)
    assert (found.unknown, [n.name for n in found.neurons]) == ({"1": "Half", "4": "Half"}, ["3"])
    assert not found.folds


def test_operations_and_state_are_those_of_one_step_on_one_sample() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), LIF(), nn.Flatten(), nn.Linear(144, 3))
    found = inspect(source_of(net, shape=(2, 8, 8)))
    assert found.operations == 4 * 36 * 2 * 9 + 144 * 3
    assert found.state_bytes == 4 * 36 * 4
