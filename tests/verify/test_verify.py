"""The verdict: what it demands, and what it says where it fails."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.results.verdict import Policy, Verdict, judge
from snnconv.sources import Source, SourceOptions, load_source
from snnconv.verify import Plan, Reference, verify
from tests.artifacts import written
from tests.networks import NETWORKS, inputs, source_of

once = pytest.mark.usefixtures("exported_once")


@pytest.fixture(scope="module")
def source() -> Source:
    return source_of(NETWORKS["per_channel"]())


def artifact(source: Source, path: Path, form: str = "sequence", batch: int | None = None) -> Path:
    return written(fold(source.program), path, form, batch)


def run(source: Source, path: Path, data: Data | None = None, policy: Policy | None = None, plan: Plan | None = None) -> Verdict:
    data = data or Data(inputs(source), None, "noise")
    return judge(verify(Reference(source), open_candidate(path), data, ("source", path.name), plan), policy)


@pytest.mark.sample(2)
@pytest.mark.parametrize("event", [False, True])
@pytest.mark.parametrize("readout", ["mean", "sum", "last", "max", "none"])
@pytest.mark.parametrize("suffix", [".onnx", ".ts", ".pt2"])
def test_every_time_contract_is_verified_in_every_format(suffix: str, readout: str, event: bool, tmp_path: Path) -> None:
    source = source_of(NETWORKS["per_element"](), timesteps=3, event=event, readout=readout)
    result = run(source, artifact(source, tmp_path / f"net{suffix}"))
    assert result.equivalent, result.faults


@once
def test_every_layer_has_a_proof_and_a_deployment_check(source: Source, tmp_path: Path) -> None:
    result = run(source, artifact(source, tmp_path / "net.onnx"))
    proven = {check.layer for check in result.checks if check.level == "proof"}
    deployed = [check.layer for check in result.checks if check.level == "deployment"]
    assert proven == {"conv1", "conv2", "conv3", "head", "act1", "act2", "act3", "description", "graph"}
    judged = ["act1", "act2", "act3", "output"]
    assert deployed == ["act1", "act2", "act3", *judged, *judged, *judged], "comparisons, two kinds of probes, data"


def test_a_fixed_batch_is_filled_up_and_its_tally_keeps_to_the_samples(source: Source, tmp_path: Path) -> None:
    result = run(source, artifact(source, tmp_path / "net.onnx", batch=4))
    assert result.equivalent, result.faults
    assert result.verification.task is not None
    assert result.verification.task.samples == 6


def test_another_number_of_steps_is_another_contract(source: Source, tmp_path: Path) -> None:
    other = source_of(NETWORKS["per_channel"](), timesteps=5)
    result = run(source, artifact(other, tmp_path / "net.onnx"))
    assert not result.equivalent
    assert result.faults[0].level == "contract"
    assert "timesteps is 5 in the artifact, 4 in the source" in result.faults[0].detail


@once
def test_another_network_fails_in_every_layer_that_differs(source: Source, tmp_path: Path) -> None:
    other = NETWORKS["per_channel"]()
    with torch.no_grad():
        other.conv2.weight.add_(0.01)
    result = run(source, artifact(source_of(other), tmp_path / "net.onnx"))
    failed = {(check.level, check.layer) for check in result.faults}
    assert ("proof", "conv2") in failed
    assert ("deployment", "act2") in failed
    assert ("proof", "conv1") not in failed
    assert ("deployment", "act3") not in failed, "a fault must not be counted again downstream"


@once
def test_labels_give_the_accuracy_on_both_sides(source: Source, tmp_path: Path) -> None:
    x = inputs(source)
    labels = source.run(x).argmax(-1)
    labels[0] = (labels[0] + 1) % 5
    result = run(source, artifact(source, tmp_path / "net.onnx"), Data(x, labels, "labelled"))
    assert result.verification.task is not None
    assert result.verification.task.accuracy_reference == pytest.approx(5 / 6)
    assert result.verification.task.accuracy_candidate == pytest.approx(5 / 6)


@once
def test_the_policy_decides_on_agreement(source: Source, tmp_path: Path) -> None:
    result = run(source, artifact(source, tmp_path / "net.onnx"), policy=Policy(logit_error=0.0))
    assert [check.level for check in result.faults] == ["task"]


def test_spike_rates_are_those_of_both_sides(source: Source, tmp_path: Path) -> None:
    result = run(source, artifact(source, tmp_path / "net.ts"))
    for tally in result.verification.layers[:-1]:
        assert 0 < tally.rate_candidate < 1
        assert tally.rate_reference == pytest.approx(tally.rate_candidate, abs=1e-4)


@pytest.mark.long
@once
def test_chunks_do_not_change_the_result(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = artifact(source, tmp_path / "net.onnx")
    whole = run(source, path)
    monkeypatch.setattr("snnconv.verify.levels._CHUNK_POTENTIALS", 1)
    chunked = run(source, path)
    assert chunked.equivalent
    for a, b in zip(chunked.verification.layers, whole.verification.layers, strict=True):
        assert replace(a, worst=0, margins=()) == replace(b, worst=0, margins=())
    assert chunked.verification.data == whole.verification.data


def test_a_program_that_still_holds_its_norms_is_no_candidate(source: Source, tmp_path: Path) -> None:
    pt2.save(source.program, tmp_path / "net.pt2")
    with pytest.raises(Exception, match="is not folded"):
        open_candidate(tmp_path / "net.pt2")


@pytest.mark.parametrize("name", ["net.onnx", "net.ts", "net.pt2"])
def test_what_was_opened_is_judged_and_named_whatever_becomes_of_the_file(name: str, source: Source, tmp_path: Path) -> None:
    path = artifact(source, tmp_path / name, "step")
    digest, opened = hashlib.sha256(path.read_bytes()).hexdigest(), open_candidate(path)
    path.write_bytes(b"another file")
    found = verify(Reference(source), opened, Data(inputs(source), None, "noise"), ("source", name))
    assert judge(found).equivalent
    assert found.candidate_sha256 == digest


def test_a_program_as_source_is_named_by_its_own_file(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    pt2.save(fold(source.program), path)
    assert load_source(path, SourceOptions()).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
