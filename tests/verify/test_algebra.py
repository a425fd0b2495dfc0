"""Without rounding, only the graph is left to differ: damage to it is found in float64 and its layer named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from snnconv.engines import Candidate, open_candidate
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.nn import LIF
from snnconv.results import Check
from snnconv.sources import Source
from snnconv.verify.algebra import check_algebra
from tests.artifacts import artifact
from tests.networks import NETWORKS, inputs, source_of
from tests.references import reference_to

ARTIFACTS = [(".pt2", "step"), (".onnx", "sequence"), (".onnx", "step"), (".ts", "sequence"), (".ts", "step")]


@cache
def made(name: str, event: bool = False, readout: str = "mean") -> tuple[Source, SpikingProgram, SpikingProgram]:
    """A source and its folds in float32 and float64."""
    source = source_of(NETWORKS[name](), event=event, readout=readout)
    return source, fold(source.program), fold(source.to(torch.float64).program)


def check(source: Source, folded64: SpikingProgram, candidate: Candidate) -> Check:
    (found,) = check_algebra(reference_to(source, folded64=folded64), candidate, inputs(source, 2))
    assert found.level == "algebra"
    return found


@pytest.mark.sample(5)
@pytest.mark.parametrize("event", [False, True], ids=["image", "frames"])
@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_undamaged_artifact_agrees(name: str, suffix: str, form: str, event: bool, tmp_path: Path) -> None:
    source, folded, folded64 = made(name, event)
    found = check(source, folded64, artifact(folded, tmp_path / f"net{suffix}", form))
    assert found.passed, found
    assert found.layer == ""
    assert float(found.detail.rpartition(" ")[2]) <= 1e-12
    assert found.detail.startswith("float64, 2 samples: same spikes, potentials and logits to ")


@pytest.mark.sample(3)
@pytest.mark.parametrize("readout", ["sum", "last", "none"])
@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS)
def test_every_read_out_agrees(suffix: str, form: str, readout: str, tmp_path: Path) -> None:
    source, folded, folded64 = made("per_channel", readout=readout)
    assert check(source, folded64, artifact(folded, tmp_path / f"net{suffix}", form)).passed


@pytest.mark.sample(1)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_an_artifact_of_a_fixed_batch_agrees(form: str, batch: int, tmp_path: Path) -> None:
    source, folded, folded64 = made("per_channel")
    assert check(source, folded64, artifact(folded, tmp_path / "net.onnx", form, batch)).passed


class Scaling(nn.Module):
    """Numbers in its code that are not what they are in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1, self.conv2, self.act2 = nn.Conv2d(2, 4, 3), LIF(), nn.Conv2d(4, 4, 3), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(self.conv2(self.act1(self.conv1(x) * 3.1) * (1 / 3) + 0.1) / 0.3).flatten(1) * 0.7


@pytest.mark.sample(2)
@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS)
def test_numbers_of_the_code_are_as_exact_as_in_the_source(suffix: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = source_of(Scaling().eval())
    candidate = artifact(fold(source.program), tmp_path / f"net{suffix}", form)
    found = check(source, fold(source.to(torch.float64).program), candidate)
    assert found.passed
    assert float(found.detail.rpartition(" ")[2]) <= 1e-12


OnnxDamage = Callable[[onnx.ModelProto], None]


def node_to(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def readers(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if name in node.input]


def insert(model: onnx.ModelProto, after: onnx.NodeProto, node: onnx.NodeProto) -> None:
    """Put `node` behind `after`; all that read the latter's output read the former's."""
    for reader in readers(model, after.output[0]):
        for i, name in enumerate(reader.input):
            if name == after.output[0]:
                reader.input[i] = node.output[0]
    model.graph.node.insert(list(model.graph.node).index(after) + 1, node)


def scaled_by_a_little(model: onnx.ModelProto) -> None:
    (conv,) = readers(model, "conv2.weight")
    factor = onnx.numpy_helper.from_array(torch.tensor(1.0001).numpy(), "factor")
    model.graph.initializer.append(factor)
    insert(model, conv, onnx.helper.make_node("Mul", [conv.output[0], "factor"], ["scaled"]))


def leak_of_another(model: onnx.ModelProto) -> None:
    for node in readers(model, "act2.leak"):
        node.input[list(node.input).index("act2.leak")] = "act1.leak"


def steps_swapped(model: onnx.ModelProto) -> None:
    one, two = node_to(model, "act2.potential.1"), node_to(model, "act2.potential.2")
    i, j = (next(i for i, name in enumerate(node.input) if node_to(model, name).op_type == "Split") for node in (one, two))
    one.input[i], two.input[j] = two.input[j], one.input[i]


def a_layer_twice(model: onnx.ModelProto) -> None:
    (conv,) = readers(model, "conv2.weight")
    again = onnx.NodeProto()
    again.CopyFrom(conv)
    again.input[0], again.output[0], again.name = conv.output[0], "again", "again"
    insert(model, conv, again)


def a_skip_forgotten(model: onnx.ModelProto) -> None:
    (conv,) = readers(model, "conv3.weight")
    (add,) = readers(model, conv.output[0])
    add.input[0] = add.input[1] = conv.output[0]


def a_reset_too_late(model: onnx.ModelProto) -> None:
    """The state after step 1 resets by the spikes of step 0."""
    for node in readers(model, "act3.spike.1"):
        if node.op_type == "Where":
            node.input[0] = "act3.spike.0"


def a_read_out_of_the_sum(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "ReduceMean").op_type = "ReduceSum"


DAMAGE: dict[str, tuple[OnnxDamage, str]] = {
    "a factor of 1.0001": (scaled_by_a_little, "act2"),
    "the leak of another layer": (leak_of_another, "act2"),
    "two steps swapped": (steps_swapped, "act2"),
    "a convolution done twice": (a_layer_twice, "act2"),
    "a skip forgotten": (a_skip_forgotten, "act3"),
    "a reset one step late": (a_reset_too_late, "act3"),
    "a sum read out": (a_read_out_of_the_sum, "output"),
}


def damaged(path: Path, damage: OnnxDamage) -> Candidate:
    model = onnx.load(path)
    damage(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return open_candidate(path).load()


@pytest.mark.sample(4)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_graph_is_found_and_its_layer_named(damage: str, tmp_path: Path) -> None:
    source, folded, folded64 = made("per_element")
    artifact(folded, tmp_path / "net.onnx", "sequence")
    apply, layer = DAMAGE[damage]
    found = check(source, folded64, damaged(tmp_path / "net.onnx", apply))
    assert not found.passed
    assert found.layer == layer
    assert "differ by up to" in found.detail


def test_the_leak_of_another_layer_shows_from_the_second_step_on(tmp_path: Path) -> None:
    source, folded, folded64 = made("per_element")
    artifact(folded, tmp_path / "net.onnx", "sequence")
    assert check(source, folded64, damaged(tmp_path / "net.onnx", leak_of_another)).detail.endswith("first at step 1")


@pytest.mark.sample(2)
@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS)
def test_another_kind_of_reset_is_found_in_every_format(suffix: str, form: str, tmp_path: Path) -> None:
    source, folded, folded64 = made("per_element")
    neurons = {**folded.neurons, "act2": replace(folded.neurons["act2"], soft=True)}
    found = check(source, folded64, artifact(replace(folded, neurons=neurons), tmp_path / f"net{suffix}", form))
    assert (found.passed, found.layer) == (False, "act2")


@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS)
def test_constants_of_another_network_are_named_not_raised(suffix: str, form: str, tmp_path: Path) -> None:
    source, _, folded64 = made("per_channel")
    candidate = artifact(fold(made("per_element")[0].program), tmp_path / f"net{suffix}", form)
    found = check(source, folded64, candidate)
    assert not found.passed
    assert "does not run in float64: " in found.detail
    assert "constant act1." in found.detail


def test_a_graph_that_does_not_fit_together_is_named_not_raised(tmp_path: Path) -> None:
    source, folded, folded64 = made("per_channel")
    artifact(folded, tmp_path / "net.onnx", "sequence")

    def drop_last_step(model: onnx.ModelProto) -> None:
        concat = next(n for n in model.graph.node if n.op_type == "Concat" and n.input[0] == "act2.spike.0")
        del concat.input[3]

    found = check(source, folded64, damaged(tmp_path / "net.onnx", drop_last_step))
    assert not found.passed
    assert "does not run in float64: Add " in found.detail
    assert "shapes" in found.detail


def show_the_output_instead(names: list[str]) -> None:
    names[1] = "y"


def show_a_step_less(names: list[str]) -> None:
    del names[3]


WRONG_SHAPES = {show_the_output_instead: "act2: values are [", show_a_step_less: "act2: values are of 3 steps, not of 4"}


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", ["potential", "spike"])
@pytest.mark.parametrize(("damage", "said"), WRONG_SHAPES.items())
def test_values_of_the_wrong_shape_are_named_not_raised(
    damage: Callable[[list[str]], None], said: str, kind: str, tmp_path: Path
) -> None:
    source, folded, folded64 = made("per_channel")
    artifact(folded, tmp_path / "net.onnx", "sequence")

    def apply(model: onnx.ModelProto) -> None:
        (held,) = (p for p in model.metadata_props if p.key == "snnconv")
        metadata = json.loads(held.value)
        damage(metadata["tensors"]["act2"][kind])
        held.value = json.dumps(metadata)

    found = check(source, folded64, damaged(tmp_path / "net.onnx", apply))
    assert (found.passed, found.layer) == (False, "act2")
    assert said in found.detail


class OwnType(nn.Module):
    """Asks for one type, so that its code cannot run in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 4, 3), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype is torch.float32
        return self.act(self.conv(x)).flatten(1)


def test_a_source_that_does_not_run_in_float64_is_said_to(tmp_path: Path) -> None:
    source = source_of(OwnType().eval())
    candidate = artifact(fold(source.program), tmp_path / "net.onnx", "sequence")
    found = check(source, fold(source.to(torch.float64).program), candidate)
    assert not found.passed
    assert "the source does not run in float64: " in found.detail
