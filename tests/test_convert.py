"""The whole road: what comes out, and what stays when something fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnconv.convert import convert
from snnconv.data import Data
from snnconv.errors import InputError
from snnconv.latency import Latency
from snnconv.request import Loaded, Request, Target
from snnconv.results import Conversion
from snnconv.results.verdict import Policy
from snnconv.sources import Source, SourceOptions, load_source
from tests.networks import inputs, per_channel


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "net.pth"
    torch.save(per_channel().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def source(checkpoint: Path) -> Source:
    return load_source(checkpoint, SourceOptions(arch="tests.networks:per_channel"))


def run(source: Source, checkpoint: Path, *targets: Target) -> Conversion:
    loaded = Loaded(source, Data(inputs(source), None, "noise"), checkpoint.name)
    return convert(Request(checkpoint, targets=targets), loaded)


def test_one_conversion_makes_and_verifies_every_target(source: Source, checkpoint: Path, tmp_path: Path) -> None:
    targets = [Target(tmp_path / "a.onnx"), Target(tmp_path / "a.ts"), Target(tmp_path / "step.ts", None, "step")]
    result = run(source, checkpoint, *targets)
    assert result.equivalent
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "a.ts", "step.ts"]
    assert [m.size for m in result.measures] == [path.stat().st_size for path in (checkpoint, *(t.path for t in targets))]
    assert all(m.latency > 0 for m in result.measures)


def test_an_artifact_that_is_not_equivalent_replaces_nothing(source: Source, checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.ts"
    target.write_text("the old one")
    loaded = Loaded(source, Data(inputs(source), None, "noise"), checkpoint.name)
    result = convert(Request(checkpoint, policy=Policy(accuracy_drop=0.0), targets=(Target(target),)), loaded)
    assert not result.equivalent
    assert [p.name for p in tmp_path.iterdir()] == ["net.ts"]
    assert target.read_text() == "the old one"


def test_the_same_input_gives_the_same_file(source: Source, checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        run(source, checkpoint, Target(tmp_path / name))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize(("batch", "timed"), [(None, 1), (7, 7)])
def test_source_and_artifact_are_timed_on_the_same_samples(
    batch: int | None, timed: int, source: Source, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def measured(run: object, x: torch.Tensor) -> Latency:
        seen.append(x)
        return Latency(len(seen), 0.0)

    monkeypatch.setattr("snnconv.convert.measure", measured)
    result = run(source, checkpoint, Target(tmp_path / "a.onnx", batch=batch))
    data = inputs(source)
    assert len(data) < 7, "some are to be shown twice"
    assert len(seen) == 2
    assert all(torch.equal(x, torch.cat([data] * 7)[:timed]) for x in seen)
    assert [(measure.latency, measure.batch) for measure in result.measures] == [(1.0, timed), (2.0, timed)]


def test_outputs_of_several_batch_sizes_are_refused(source: Source, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="convert once for each"):
        run(source, checkpoint, Target(tmp_path / "a.onnx", batch=1), Target(tmp_path / "b.onnx", batch=2))
    assert list(tmp_path.iterdir()) == []
