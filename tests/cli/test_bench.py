"""`bench`: every artifact in its engine, on the same samples, and no code that nobody looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from snnconv.results.schema import published_schema
from tests.cli.run import place, run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("folded.pt2", "net.onnx", "net.ts", "net.pth"):
        place(tmp_path, name)
    np.savez(tmp_path / "few.npz", x=np.zeros((3, 2, 8, 8), np.float32))
    return tmp_path


def test_every_artifact_has_its_size_and_latency_in_its_engine(here: Path) -> None:
    done = run("bench", "net.onnx", "folded.pt2", "--data", "few.npz", "--batch", "5", "--json")
    document = json.loads(done.out)
    Draft202012Validator(published_schema()).validate(document)
    assert done.code == 0 and document["command"] == "bench"
    for measure, (name, engine) in zip(
        document["measures"], [("net.onnx", "ONNX Runtime"), ("folded.pt2", "torch")], strict=True
    ):
        assert measure["name"].startswith(f"{name}, {engine} ")
        assert measure["latency"] > 0 and measure["batch"] == 5
        assert measure["size"] == (here / name).stat().st_size


def test_the_table_names_the_batch(here: Path) -> None:
    done = run("bench", "net.onnx", "--data", "few.npz")
    assert done.code == 0 and done.out.split()[:2] == ["batch", "1"] and " ms " in done.out


def test_code_is_run_only_if_that_is_asked_for(here: Path) -> None:
    refused = run("bench", "net.ts")
    assert refused.code == 3 and "net.ts: brings code along" in refused.error
    assert run("bench", "net.ts", "--run-foreign-code").code == 0


def test_an_engine_that_does_not_run_the_format_is_named(here: Path) -> None:
    done = run("bench", "net.onnx", "--engine", "torch")
    assert done.code == 2 and "--engine torch runs no onnx files" in done.error
