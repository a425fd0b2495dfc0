"""Whole reports as they were when someone last looked at them; `pytest --snapshot-update` after looking again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

import snnconv
from snnconv.report import REPORTS, write_report
from snnconv.results import Conversion, Measure, Site
from snnconv.results.document import conversion_report, verification_report
from tests.report.examples import bad, good, unproven

SITES = (
    Site("first.bn", "BatchNorm2d", "first.conv", "rounding", "into weight [8, 1, 3, 3] and bias, in float64"),
    Site("first.neuron", "MPBN", "threshold", "exact", "8 channels, thresholds -63.59 to 300.2, 2 inverted"),
)
MEASURES = (Measure("source, eager torch", 120_000, 2.5), Measure("fashion.onnx, ONNX Runtime 1.31.1", 121_000, 0.2))
CONVERSION = Conversion("fashion.pth", "samples.fashion:per_channel", SITES, (good(),), MEASURES)
CASES = {
    "verify": verification_report([good(), bad()]),
    "open": verification_report([unproven()]),
    "convert": conversion_report(CONVERSION),
}


@pytest.fixture(autouse=True)
def _fixed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snnconv, "__version__", "1.2.3")


def as_file(suffix: str) -> type[SingleFileSnapshotExtension]:
    """Snapshots as text files of a suffix."""

    class Extension(SingleFileSnapshotExtension):
        _write_mode = WriteMode.TEXT
        file_extension = suffix.removeprefix(".")

    return Extension


@pytest.mark.parametrize("suffix", REPORTS.names(), ids=lambda suffix: suffix.removeprefix("."))
@pytest.mark.parametrize("name", CASES)
def test_report(name: str, suffix: str, snapshot: SnapshotAssertion, tmp_path: Path) -> None:
    path = tmp_path / f"report{suffix}"
    write_report(path, CASES[name])
    text: Any = path.read_bytes().decode("utf-8")
    assert text == snapshot(extension_class=as_file(suffix))
    assert len(text) < 150_000
