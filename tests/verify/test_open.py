"""What is neither right nor wrong: graphs that no export here writes are unproven, what an engine cannot do is not checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from snnconv.artifact.onnx_file import OnnxFile
from snnconv.data import Data
from snnconv.engines import ENGINES, Candidate, open_content
from snnconv.engines.onnx_runtime import load
from snnconv.export import encode
from snnconv.export.onnx import FORMAT
from snnconv.files import Content
from snnconv.results import LEVELS, NOT_CHECKED, UNPROVEN
from snnconv.results.verdict import Verdict, judge
from snnconv.sources import Source
from snnconv.verify import Plan, Reference, verify
from tests.networks import NETWORKS, inputs, source_of


@cache
def source() -> Source:
    return source_of(NETWORKS["per_channel"](), 3)


@cache
def reference() -> Reference:
    return Reference(source())


@cache
def exported(form: str = "sequence") -> bytes:
    return encode(reference().folded, FORMAT, form)


def changed(change: Callable[[ModelProto], None], form: str = "sequence") -> bytes:
    model = onnx.load_from_string(exported(form))
    change(model)
    return model.SerializeToString()


def verified(data: bytes, levels: tuple[str, ...] = LEVELS, engine: str | None = None) -> Verdict:
    artifact = open_content(Content(Path("net.onnx"), data), engine=engine)
    return judge(verify(reference(), artifact, Data(inputs(source()), None, "noise"), ("source", "net.onnx"), Plan(levels)))


def levels_of(verdict: Verdict, kind: str) -> set[str]:
    return {check.level for check in verdict.checks if check.open == kind}


def optimised(level: str, form: str, folder: Path) -> bytes:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimised.onnx"), 3
    onnxruntime.InferenceSession(exported(form), options, providers=["CPUExecutionProvider"])
    return (folder / "optimised.onnx").read_bytes()


# Unproven.


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_a_graph_that_onnx_runtime_optimised_is_unproven_and_every_other_level_speaks(form: str, tmp_path: Path) -> None:
    verdict = verified(optimised("EXTENDED", form, tmp_path))
    assert not verdict.equivalent and not verdict.faults, verdict.faults
    assert verdict.word.startswith("UNPROVEN: no fault found in algebra, deployment, task (the graph is not what snnconv ")
    assert verdict.verification.task is not None and verdict.verification.layers


def test_constants_that_an_optimiser_laid_out_anew_are_unproven_and_algebra_without_them_is_not_checked(tmp_path: Path) -> None:
    verdict = verified(optimised("ALL", "sequence", tmp_path))
    assert not verdict.faults, verdict.faults
    assert {"conv1", "graph"} <= {check.layer for check in verdict.unproven}
    assert levels_of(verdict, NOT_CHECKED) == {"algebra"}
    assert verdict.word.startswith("UNPROVEN: no fault found in deployment, task (algebra not checked; the graph is not what")


def test_without_the_proof_nothing_is_wrong_with_an_optimised_graph(tmp_path: Path) -> None:
    verdict = verified(optimised("EXTENDED", "sequence", tmp_path), LEVELS[1:])
    assert verdict.equivalent and verdict.word == "NO FAULT FOUND in algebra, deployment, task (proof not checked)"


def test_another_value_of_a_constant_is_a_fault_in_any_graph(tmp_path: Path) -> None:
    model = onnx.load_from_string(optimised("EXTENDED", "sequence", tmp_path))
    held = next(tensor for tensor in model.graph.initializer if tensor.name == "conv2.weight")
    value = numpy_helper.to_array(held).copy()
    value[1, 0, 0, 0] += 0.01
    held.CopyFrom(numpy_helper.from_array(value, held.name))
    verdict = verified(model.SerializeToString(), ("proof", "task"))
    assert verdict.word == "NOT EQUIVALENT" and ("proof", "conv2") in {(c.level, c.layer) for c in verdict.faults}


def test_a_fault_that_another_level_finds_makes_an_unproven_graph_wrong() -> None:
    def weaken(model: ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "Greater").op_type = "GreaterOrEqual"

    verdict = verified(changed(weaken))
    assert verdict.word == "NOT EQUIVALENT" and verdict.unproven


def test_a_constant_in_half_precision_is_no_constant_of_another_value() -> None:
    def halve(model: ModelProto) -> None:
        held = next(tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
        model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(held).astype(np.float16), "half"))
        model.graph.initializer.remove(held)
        model.graph.node.insert(0, onnx.helper.make_node("Cast", ["half"], ["head.bias"], to=TensorProto.FLOAT))

    verdict = verified(changed(halve), ("proof",))
    assert {check.layer for check in verdict.unproven} == {"head", "graph"} and not verdict.faults


def test_a_graph_in_which_a_potential_has_lost_its_name_is_judged_by_its_task() -> None:
    def rename(model: ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = "renamed" if name == "act2.potential.1" else name

    verdict = verified(changed(rename))
    assert levels_of(verdict, NOT_CHECKED) == {"algebra", "deployment"} and levels_of(verdict, UNPROVEN) == {"proof"}
    assert verdict.word.startswith("UNPROVEN: no fault found in task (algebra, deployment not checked; the graph is not what")


def test_the_toolchain_that_wrote_a_graph_is_named() -> None:
    def old(model: ModelProto) -> None:
        metadata = json.loads(model.metadata_props[0].value)
        metadata["toolchain"]["torch"] = "1.0"
        model.metadata_props[0].value = json.dumps(metadata)
        model.graph.node.append(onnx.helper.make_node("Identity", ["x"], ["unread"]))

    assert "it was written by torch 1.0; line " in verified(changed(old), ("proof",)).word


# What an artifact tells of itself.


def retold(change: Callable[[dict], None]) -> Verdict:
    def edit(model: ModelProto) -> None:
        metadata = json.loads(model.metadata_props[0].value)
        change(metadata)
        model.metadata_props[0].value = json.dumps(metadata)

    return verified(changed(edit), ("proof",))


FALSEHOODS: dict[str, Callable[[dict], object]] = {
    "fires_on": lambda told: told["neurons"][1].update(fires_on=">="),
    "thresholds": lambda told: told["neurons"][0].update(thresholds=7),
    "a site less": lambda told: told["sites"].pop(),
    "outcome": lambda told: told["sites"][0].update(outcome="exact, really"),
}


@pytest.mark.parametrize("name", FALSEHOODS)
def test_a_false_description_fails_the_proof(name: str) -> None:
    verdict = retold(lambda told: FALSEHOODS[name](told) and None)
    assert [(check.level, check.layer) for check in verdict.faults] == [("proof", "description")]


def test_the_kernel_of_a_proof_is_no_description_of_the_network() -> None:
    assert retold(lambda told: told["neurons"][0].update(kernel="another")).equivalent


def test_what_another_version_tells_in_other_words_is_unproven() -> None:
    def older(told: dict) -> None:
        told["toolchain"]["snnconv"] = "0.0.1"
        told["sites"][0]["detail"] = "in other words"

    assert [check.layer for check in retold(older).unproven] == ["description"]


def test_a_false_type_of_a_value_is_not_proven() -> None:
    def shrink(model: ModelProto) -> None:
        model.graph.value_info[-1].type.tensor_type.elem_type = TensorProto.DOUBLE

    assert [check.layer for check in verified(changed(shrink), ("proof",)).unproven] == ["graph"]


# Not checked.


@pytest.fixture
def lacking() -> Iterator[Callable[..., str]]:
    """Registers an engine like ONNX Runtime that lacks an ability, and gives its name."""

    def register(**abilities: bool) -> str:
        def load_toy(artifact: OnnxFile) -> Candidate:
            return replace(load(artifact), engine=engine)

        engine = replace(ENGINES["onnxruntime"], name="toy", title="Toy", version="1", load=load_toy, **abilities)
        ENGINES.register("toy", engine)
        return "toy"

    yield register
    ENGINES.discard("toy")


UNABLE = {
    "observes": "NO FAULT FOUND in proof, task (algebra, deployment not checked)",
    "float64": "NO FAULT FOUND in proof, deployment, task (algebra not checked)",
    "moves_constants": "NO FAULT FOUND in proof, deployment, task (algebra, deployment comparison probes not checked)",
}


@pytest.mark.parametrize("ability", UNABLE)
def test_what_an_engine_cannot_do_is_not_checked_and_no_failure(ability: str, lacking: Callable[..., str]) -> None:
    verdict = verified(exported(), engine=lacking(**{ability: False}))
    assert verdict.equivalent and not verdict.complete
    assert verdict.word == UNABLE[ability]
    assert all("Toy 1" in check.detail for check in verdict.unchecked)


def test_an_engine_that_can_do_it_all_is_checked_in_full(lacking: Callable[..., str]) -> None:
    verdict = verified(exported(), engine=lacking())
    assert verdict.word == "EQUIVALENT" and verdict.verification.runtime == "Toy 1"


def test_nothing_is_equivalent_if_all_that_was_asked_for_could_not_be_checked(lacking: Callable[..., str]) -> None:
    verdict = verified(exported(), ("algebra",), engine=lacking(float64=False))
    assert not verdict.equivalent and verdict.word == "NOT CHECKED: Toy 1 does not compute in float64"


def test_faults_are_found_in_what_an_engine_can_do(lacking: Callable[..., str]) -> None:
    def turn(model: ModelProto) -> None:
        head = next(node for node in model.graph.node if node.op_type == "Gemm")
        del head.attribute[:]
        head.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in {"alpha": -1.0, "transB": 1}.items())

    verdict = verified(changed(turn), LEVELS[1:], engine=lacking(observes=False))
    assert verdict.word == "NOT EQUIVALENT" and {check.level for check in verdict.faults} == {"task"}
