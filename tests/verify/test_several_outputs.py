"""Several outputs in one artifact: the verdict is on each of them, and names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from torch import fx, nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.errors import Refused, SnnconvError
from snnconv.export import FORMATS, encode
from snnconv.fold import fold
from snnconv.ir.nodes import results
from snnconv.ir.program import SpikingProgram, put, share, tensors
from snnconv.nn import LIF
from snnconv.results.document import document_of, verification_report
from snnconv.results.reading import from_plain, read_results
from snnconv.results.shards import merge
from snnconv.results.verdict import Policy, Verdict, judge
from snnconv.sources import Source
from snnconv.verify import Plan, verify
from tests.artifacts import artifact
from tests.networks import inputs, source_of, trained
from tests.references import reference_to
from tests.several import NETWORKS, REFUSED, several

FORMS = [("n.onnx", "sequence"), ("n.onnx", "step"), ("n.ts", "sequence"), ("n.ts", "step"), ("n.pt2", "step")]


def source(name: str = "heads", event: bool = False, readout: str = "") -> Source:
    return several(name, event=event, readout=readout)


@cache
def folded(name: str = "heads", event: bool = False, readout: str = "") -> SpikingProgram:
    return fold(source(name, event, readout).program)


def judged(
    of: Source, program: SpikingProgram, path: Path, form: str, data: Data | None = None, plan: Plan | None = None
) -> Verdict:
    reference = reference_to(of, fold(of.program))
    candidate = artifact(program, path, form)
    return judge(verify(reference, candidate, data or Data(inputs(of, 6), None, "noise"), ("source", path.name), plan))


@cache
def exported() -> bytes:
    """The sound artifact in ONNX."""
    return encode(folded(), FORMATS["onnx"])


def wrong(verdict: Verdict, level: str = "") -> set[str]:
    return {check.layer for check in verdict.faults if level in ("", check.level)}


@pytest.mark.sample(3)
@pytest.mark.parametrize(("file", "form"), FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_artifact_of_all_outputs_is_equivalent_and_gives_what_the_network_does(
    name: str, file: str, form: str, tmp_path: Path
) -> None:
    verdict = judged(source(name), folded(name), tmp_path / file, form)
    assert verdict.word == "EQUIVALENT", verdict.faults
    names = [output for output, _ in source(name).program.contract.outputs]
    assert [tally.name for tally in verdict.verification.layers][-len(names) :] == [f"output {output}" for output in names]
    assert list(verdict.verification.outputs) == names
    x = inputs(source(name), 3)
    found = open_candidate(tmp_path / file).load().outputs(x)
    for y, expected in zip(found, source(name).outputs(x), strict=True):
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.sample(3)
@pytest.mark.parametrize("readout", ["sum", "none", "max"])
@pytest.mark.parametrize(("file", "form"), [FORMS[0], FORMS[2]])
def test_frames_and_other_read_outs_are_equivalent(readout: str, file: str, form: str, tmp_path: Path) -> None:
    verdict = judged(source("heads", True, readout), folded("heads", True, readout), tmp_path / file, form)
    assert verdict.word == "EQUIVALENT", verdict.faults


def test_each_output_has_the_read_out_that_the_network_gives_it() -> None:
    readouts = source("detector").program.contract.readouts
    assert readouts == {"0.scores": "mean", "0.boxes": "mean", "1": "last"}
    assert source("detector").notes == ("2 is returned as well, and left out: it is int64",)
    summed = source("detector", readout="sum")
    assert summed.program.contract.readouts == {"0.scores": "sum", "0.boxes": "mean", "1": "last"}
    assert summed.settings["readout"] == "0.scores sum, 0.boxes mean, 1 last (option and network)"


def test_one_output_and_all_of_them_is_as_without_asking() -> None:
    asked, plain = several("heads", "logits"), several("heads", "aux,logits")
    assert not asked.program.contract.outputs
    assert [name for name, _ in plain.program.contract.outputs] == ["aux", "logits"]


@pytest.mark.parametrize("name", REFUSED)
def test_an_output_that_cannot_be_exported_is_refused_by_name_and_the_others_can(name: str) -> None:
    with pytest.raises(Refused, match=REFUSED[name][1]):
        several(name)
    assert several(name, "steps").program.contract.readout == "mean"


class CalledOutput(nn.Module):
    """Its neuron bears the name under which its output is judged."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.output, self.head = nn.Linear(8, 12), LIF(threshold=0.2), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.output(self.fc(x)))


def test_a_neuron_that_is_called_output_is_judged_beside_the_output(tmp_path: Path) -> None:
    of = source_of(trained(CalledOutput()), 3, shape=(8,))
    program = fold(of.program)
    neuron = program.neurons["output"]
    wrong_leak = replace(program, neurons={"output": replace(neuron, leak=neuron.leak * 1.01)})
    for candidate, faults in ((program, set()), (wrong_leak, {"output"})):
        verdict = judged(of, candidate, tmp_path / "n.ts", "sequence", plan=Plan(("deployment",)))
        assert [tally.name for tally in verdict.verification.layers] == ["output", "output"]
        assert wrong(verdict) == faults


# Damage

Damage = Callable[[fx.GraphModule], None]


def damaged(change: Damage) -> SpikingProgram:
    graph = share(folded().graph)
    change(graph)
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    return replace(folded(), graph=graph)


def reordered(*order: int) -> Damage:
    """Outputs in another order, each under its old name."""

    def change(graph: fx.GraphModule) -> None:
        outputs, following = results(graph.graph)
        (output,) = graph.graph.find_nodes(op="output")
        output.args = ((*(outputs[i] for i in order), *following),)

    return change


def scaled(which: int, by: float) -> Damage:
    """A factor on one output."""

    def change(graph: fx.GraphModule) -> None:
        outputs, following = results(graph.graph)
        (output,) = graph.graph.find_nodes(op="output")
        with graph.graph.inserting_before(output):
            outputs[which] = graph.graph.call_function(torch.ops.aten.mul.Tensor, (outputs[which], by))
        output.args = ((*outputs, *following),)

    return change


def another_bias(graph: fx.GraphModule) -> None:
    put(graph, "aux.bias", tensors(graph)["aux.bias"] + 1e-3)


BIAS = "another bias of the second head"
DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "two heads swapped": (reordered(1, 0, 2, 3), ["output logits", "output aux"]),
    "one head twice": (reordered(0, 0, 2, 3), ["output aux"]),
    "spikes in the place of the map": (reordered(0, 1, 3, 3), ["output map"]),
    "a factor on the second head": (scaled(1, 1.0001), ["output aux"]),
    "a sign of the map": (scaled(2, -1.0), ["output map"]),
    BIAS: (another_bias, ["output aux"]),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize(("file", "form"), FORMS)
@pytest.mark.parametrize("kind", DAMAGES)
def test_an_output_that_is_wrong_is_found_and_named_and_the_others_are_sound(
    kind: str, file: str, form: str, tmp_path: Path
) -> None:
    change, expected = DAMAGES[kind]
    verdict = judged(source(), damaged(change), tmp_path / file, form, plan=Plan(run_foreign_code=True))
    assert wrong(verdict, "deployment") == set(expected)
    assert wrong(verdict, "algebra") == (set() if kind == BIAS else {expected[0]}), "which moves constants, and names the first"
    assert "proof" not in verdict.checked_levels


def test_swapped_names_in_a_file_are_found(tmp_path: Path) -> None:
    model = onnx.load_from_string(exported())
    names = {"logits": "aux", "aux": "logits"}
    for value in (*model.graph.output, *model.graph.node):
        if isinstance(value, onnx.NodeProto):
            value.output[:] = [names.get(name, name) for name in value.output]
            value.input[:] = [names.get(name, name) for name in value.input]
    onnx.save(model, tmp_path / "n.onnx")
    found = verify(
        reference_to(source()), open_candidate(tmp_path / "n.onnx"), Data(inputs(source(), 4), None, "noise"), ("a", "b")
    )
    assert {"output logits", "output aux"} <= wrong(judge(found))


@pytest.mark.parametrize(
    "told",
    [["logits"], ["logits", "logits", "map", "spikes"], "logits", [1, 2, 3, 4], ["aux", "logits", "map", "spikes"]],
    ids=str,
)
def test_a_file_that_names_its_outputs_otherwise_is_no_file_or_wrong(told: object, tmp_path: Path) -> None:
    model = onnx.load_from_string(exported())
    (held,) = model.metadata_props
    held.value = json.dumps({**json.loads(held.value), "outputs": told})
    onnx.save(model, tmp_path / "n.onnx")
    try:
        found = verify(
            reference_to(source()), open_candidate(tmp_path / "n.onnx"), Data(inputs(source(), 4), None, "noise"), ("a", "b")
        )
    except SnnconvError as error:
        assert "does not name every output" in str(error)
    else:
        assert {"output logits", "output aux"} <= wrong(judge(found))


def test_an_artifact_of_fewer_or_other_outputs_breaks_the_contract(tmp_path: Path) -> None:
    for output in ("logits", "logits,aux", "logits,aux,spikes,map"):
        program = fold(several("heads", output).program)
        verdict = judged(source(), program, tmp_path / "n.ts", "sequence")
        ((_, detail),) = {(check.layer, check.detail) for check in verdict.faults}
        assert detail.endswith("logits (mean), aux (mean), map (mean), spikes (mean) in the source")


def test_labels_go_with_the_first_class_score_and_the_others_have_no_accuracy(tmp_path: Path) -> None:
    of, x = several("heads", "map,aux,logits"), inputs(source(), 6)
    decided = of.outputs(x)[1].argmax(1)
    data = Data(x, decided, "noise")
    verdict = judged(of, fold(of.program), tmp_path / "n.ts", "sequence", data, Plan(("deployment", "task")))
    tasks = verdict.verification.outputs
    assert {name: task.labelled for name, task in tasks.items()} == {"map": 0, "aux": 6, "logits": 0}
    assert tasks["aux"].accuracy_candidate == 1
    strict = judge(verdict.verification, Policy(accuracy_drop=0.0))
    assert not strict.faults, "the others have no labels, and need none"


def test_every_output_must_agree(tmp_path: Path) -> None:
    verdict = judged(
        source(), damaged(scaled(2, -1.0)), tmp_path / "n.ts", "sequence", plan=Plan(("task",), run_foreign_code=True)
    )
    assert wrong(verdict) == {"output map", "output map, unwatched run"}
    assert verdict.verification.agreement == min(task.agreement for task in verdict.verification.outputs.values()) < 1


def test_shards_of_several_outputs_add_up_and_documents_hold_them(tmp_path: Path) -> None:
    x = torch.cat([inputs(source(), 80)] * 2)
    data = Data(x, None, "noise")
    candidate, reference = artifact(folded(), tmp_path / "n.ts", "sequence"), reference_to(source(), folded())
    plans = (Plan(("deployment", "task"), shard) for shard in (None, (1, 2), (2, 2)))
    whole, *parts = (judge(verify(reference, candidate, data, ("source", "n.ts"), plan)) for plan in plans)
    (merged,) = merge([part.verification for part in parts])
    assert merged.outputs == whole.verification.outputs
    assert merged.layers == whole.verification.layers
    document = document_of(verification_report([whole]))
    (tmp_path / "r.json").write_text(json.dumps(document))
    assert read_results(tmp_path / "r.json") == [whole.verification]
    without = {name: value for name, value in document["results"][0].items() if name != "verdict"}
    assert from_plain(without) == whole.verification
