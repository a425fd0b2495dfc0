"""An ONNX file that snnconv did not write: its task is verified, run as the source's contract says, and no more is claimed."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from snnconv.data import Data
from snnconv.engines import open_content
from snnconv.errors import InputError
from snnconv.files import Content
from snnconv.results import LEVELS
from snnconv.results.verdict import Verdict, judge
from snnconv.sources import Source
from snnconv.verify import Plan, Reference, verify
from tests.networks import NETWORKS, inputs, source_of
from tests.several import several


@cache
def source(timesteps: int = 3) -> Source:
    return source_of(NETWORKS["plain"](), timesteps)


class OverTime(nn.Module):
    """The network as somebody else's exporter sees it: all steps in one forward."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.step = source.program

    def forward(self, image: Tensor) -> Tensor:
        return self.step.run(image)


@cache
def exported(batch: int | None = None) -> bytes:
    x, buffer = inputs(source(), batch or 2), io.BytesIO()
    dynamic = None if batch else {"image": {0: "n"}}
    torch.onnx.export(
        OverTime(source()), (x,), buffer, input_names=["image"], output_names=["logits"], dynamic_axes=dynamic, dynamo=False
    )
    return buffer.getvalue()


def verified(data: bytes, of: Source | None = None, levels: tuple[str, ...] = ("task",)) -> Verdict:
    of = of or source()
    artifact = open_content(Content(Path("theirs.onnx"), data))
    assert artifact.foreign
    return judge(verify(Reference(of), artifact, Data(inputs(of), None, "noise"), ("source", "theirs.onnx"), Plan(levels)))


@pytest.mark.parametrize("batch", [None, 4])
def test_its_task_is_verified_at_any_batch_and_nothing_more_is_claimed(batch: int | None) -> None:
    verdict = verified(exported(batch))
    assert verdict.equivalent and not verdict.complete
    assert verdict.word == "NO FAULT FOUND in task (proof, algebra, deployment not checked)"
    assert verdict.verification.task is not None and verdict.verification.task.samples == 6
    assert any("carries no snnconv metadata" in note for note in verdict.verification.notes)


def test_a_network_that_decides_otherwise_is_found() -> None:
    model = onnx.load_from_string(exported())
    last = model.graph.output[0].name
    node = next(node for node in model.graph.node if last in node.output)
    node.output[0] = "other"
    model.graph.node.append(onnx.helper.make_node("Neg", ["other"], [last]))
    assert verified(model.SerializeToString()).word == "NOT EQUIVALENT"


def test_more_than_the_task_is_refused() -> None:
    with pytest.raises(InputError, match="only --level task is possible"):
        verified(exported(), levels=LEVELS)


def of_graph(inputs_: list[onnx.ValueInfoProto], reads: list[str]) -> bytes:
    y = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("Sum" if len(reads) > 1 else "Identity", reads, ["logits"])
    graph = onnx.helper.make_graph([node], "theirs", inputs_, [y])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def value(name: str, kind: int = onnx.TensorProto.FLOAT, shape: tuple[int | str, ...] = ("n", 2, 8, 8)) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


MISFITS = {
    "another size": (
        [value("a", shape=("n", 2, 8, 9))],
        "its input a is ['n', 2, 8, 9], but the source takes ['batch', 2, 8, 8]",
    ),
    "another rank": ([value("a", shape=(1, 3, 2, 8, 8))], "but the source takes ['batch', 2, 8, 8]"),
    "another type": ([value("a", onnx.TensorProto.INT64)], "its input a is INT64, not FLOAT"),
    "two inputs": ([value("a"), value("b")], "its graph takes 2 inputs (a, b) and gives 1 outputs, not 1 of each"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_graph_that_does_not_fit_the_source_is_a_finding(name: str) -> None:
    taken, said = MISFITS[name]
    verdict = verified(of_graph(taken, [value.name for value in taken]))
    assert [check.level for check in verdict.faults] == ["contract"]
    assert said in verdict.faults[0].detail


def test_an_output_of_another_shape_is_a_finding() -> None:
    verdict = verified(of_graph([value("a")], ["a"]))
    assert verdict.word == "NOT EQUIVALENT" and "output is [6, 2, 8, 8], not [6, 5]" in verdict.faults[0].detail


class HeadsOverTime(OverTime):
    """The same of a network with several outputs."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return self.step.outputs(image)


@cache
def exported_heads(*names: str) -> bytes:
    of, buffer = several("heads", "logits,aux"), io.BytesIO()
    net = HeadsOverTime(of)
    torch.onnx.export(net, (inputs(of, 2),), buffer, input_names=["image"], output_names=list(names), dynamo=False)
    return buffer.getvalue()


def reordered(data: bytes, *names: str) -> bytes:
    model = onnx.load_from_string(data)
    outputs = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in names)
    return model.SerializeToString()


def test_several_outputs_are_found_by_their_names_in_any_order_and_others_left_alone() -> None:
    of, data = several("heads", "logits,aux"), exported_heads("logits", "aux")
    for found in (data, reordered(data, "aux", "logits")):
        verdict = verified(found, of)
        assert verdict.equivalent, verdict.faults
        assert list(verdict.verification.outputs) == ["logits", "aux"]
    assert verified(reordered(data, "aux", "logits"), several("heads", "logits")).faults, "of one alone the first is taken"


def test_several_outputs_of_other_names_are_taken_in_their_order() -> None:
    of, data = several("heads", "logits,aux"), exported_heads("a", "b")
    assert verified(data, of).equivalent
    assert {check.layer for check in verified(reordered(data, "b", "a"), of).faults} >= {"output logits", "output aux"}


def test_too_few_outputs_break_the_contract() -> None:
    (fault,) = verified(exported_heads("logits", "aux"), several("heads")).faults
    assert fault.detail == "its graph gives 2 outputs (logits, aux), not 4 (logits, aux, map, spikes)"
