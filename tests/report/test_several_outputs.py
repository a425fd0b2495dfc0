"""Reports of several outputs name each of them, and show no spikes of it."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from snnconv.report import terminal, write_report
from snnconv.report.verdicts import facts, levels
from snnconv.results import LayerTally, Task
from snnconv.results.document import verification_report
from snnconv.results.reading import read_results
from snnconv.results.verdict import Policy, Verdict, judge
from tests.report.examples import GOOD

TASKS = {
    "logits": Task(500, 500, 2e-6, labelled=500, right_reference=450, right_candidate=450),
    "boxes.0": Task(500, 480, 0.5),
}
LAYERS = (
    *GOOD.layers[:-1],
    LayerTally("output logits", 5000, worst=0.01),
    LayerTally("output boxes.0", 2000, outside=3, worst=7.5),
)


def several() -> Verdict:
    return judge(replace(GOOD, task=None, outputs=TASKS, layers=LAYERS))


def test_a_verdict_is_that_of_the_worst_output_and_names_it() -> None:
    assert [(check.level, check.layer) for check in several().faults] == [
        ("deployment", "output boxes.0"),
        ("task", "output boxes.0"),
    ]
    assert judge(replace(several().verification, outputs={"logits": TASKS["logits"]}, layers=LAYERS[:-1])).equivalent


def test_accuracy_is_asked_of_the_output_that_has_labels_alone() -> None:
    verification = replace(several().verification, layers=LAYERS[:-1])
    faults = judge(verification, Policy(agreement=0.9, accuracy_drop=0.0)).faults
    assert not faults
    unlabelled = replace(verification, outputs={"boxes.0": TASKS["boxes.0"]})
    assert "has no labels" in judge(unlabelled, Policy(agreement=0.9, accuracy_drop=0.0)).faults[0].detail


def test_the_task_is_told_of_every_output() -> None:
    (task,) = [level for level in levels(several()) if level.name == "task"]
    assert re.fullmatch(
        r"output logits: argmax agrees on 100.00% .*90.00% after; output boxes.0: argmax agrees on 96.00% .*", task.said
    )
    assert [what for _, what in facts(several().verification)][2:] == [
        "argmax agreement on 500 samples (logits)",
        "accuracy, source \N{RIGHTWARDS ARROW} candidate (logits)",
        "argmax agreement on 500 samples (boxes.0)",
        "largest logit error (boxes.0)",
    ]


def test_outputs_have_no_spike_rates() -> None:
    text = io.StringIO()
    Console(file=text, width=200).print(terminal.verification(several()))
    (line,) = [line for line in text.getvalue().splitlines() if line.strip().startswith("output boxes.0") and "2,000" in line]
    assert line.split()[-1] == "750.0%"


@pytest.mark.parametrize("suffix", [".html", ".md", ".xml", ".json"])
def test_every_report_names_every_output(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"r{suffix}"
    write_report(path, verification_report([several()]))
    plain = re.sub(r"<wbr>|\\\\", "", path.read_text())
    assert all(f"output {name}" in plain for name in TASKS)
    if suffix == ".json":
        assert read_results(path) == [several().verification]
