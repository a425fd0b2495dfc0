"""Report files: JSON as promised, JUnit with one case per layer and level."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from junitparser import JUnitXml

from snnconv.errors import InputError
from snnconv.report import verification_document, write_report
from snnconv.results import Check, LayerTally, Task, Verification

CHECKS = (
    Check("contract", "", True, "T = 4"),
    Check("proof", "conv1", True, "54 constants confirmed"),
    Check("deployment", "act1", False, "3 unexplained flips, first at sample 2, step 1"),
)
RESULT = Verification(
    "net.pth", "net.onnx", "ONNX Runtime", "6 samples", CHECKS, (LayerTally("act1", 100, unexplained=3),), Task(6, 1.0, 0.5)
)


def test_json_holds_the_verdict_and_everything_below_it(tmp_path: Path) -> None:
    document = verification_document([RESULT])
    write_report(tmp_path / "report.json", document, [RESULT])
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["equivalent"] is False
    assert found["results"][0]["layers"][0]["unexplained"] == 3
    assert found["results"][0]["checks"][2]["detail"].startswith("3 unexplained flips")


def test_junit_has_one_case_per_layer_and_level(tmp_path: Path) -> None:
    write_report(tmp_path / "report.xml", verification_document([RESULT]), [RESULT])
    xml = JUnitXml.fromfile(str(tmp_path / "report.xml"))
    suite = next(iter(xml))
    assert (suite.tests, suite.failures) == (3, 1)
    assert [(case.classname, case.name) for case in suite] == [
        ("net.onnx.contract", "whole network"),
        ("net.onnx.proof", "conv1"),
        ("net.onnx.deployment", "act1"),
    ]


def test_an_unknown_suffix_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown suffix '\.pdf'"):
        write_report(tmp_path / "report.pdf", {}, [RESULT])
    assert not list(tmp_path.iterdir())
