"""What the commands print for people: the verdict first and last, every failure in words, nothing that was not found."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from snnconv.report import terminal
from snnconv.results import Conversion, Inspection, Measure, NeuronView, NormStatistics, Site
from snnconv.results.verdict import judge
from tests.report.examples import GOOD, SETTINGS, bad, good, partial

STATISTICS = NormStatistics(8, (-0.5, 1.25), (-1.0, 1.0), (0.0, 4.0), 1, 0, 2)
SITES = (
    Site("first.bn", "BatchNorm2d", "first.conv", "rounding", "into weight [8, 1, 3, 3] and bias, in float64", STATISTICS),
    Site("first.neuron", "MPBN", "", "exact", "8 channels, thresholds -63.59 to 300.2, 2 inverted"),
)
MEASURES = (Measure("source, eager torch", 120_000, 2.5), Measure("fashion.onnx, ONNX Runtime 1.31.1", 121_000, 0.2))
NEURONS = (NeuronView("first.neuron", "[8, 28, 28]", "leak 0.25, hard reset"),)
FORMATS = {"onnx": "ONNX export failed: no translation of aten.fold", "torchscript": ""}
SEEN = Inspection(
    "fashion", "5b" * 32, "the user's code", SETTINGS, 12_345, ("one note",), NEURONS, SITES, {}, 1_234_567, 25_088, FORMATS
)


def printed(found: RenderableType) -> str:
    """What a plain console of 130 columns shows, without spaces at the ends of lines."""
    out = io.StringIO()
    Console(file=out, width=130, height=25, highlight=False, emoji=False, markup=False).print(found)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


CASES = {
    "verification": terminal.verification(good()),
    "fault": terminal.verification(bad()),
    "conversion": terminal.conversion(Conversion("fashion.pth", "fashion", SITES, (good(), bad()), MEASURES)),
    "folding": terminal.folding("fashion.pt2", SITES, "the user's code", SETTINGS),
    "inspection": terminal.inspection("fashion.pth", SEEN),
    "unknown": terminal.inspection("fashion.pth", replace(SEEN, unknown={"": "Net"}, operations=None), "write an adapter"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed(name: str, snapshot: SnapshotAssertion) -> None:
    assert printed(CASES[name]) == snapshot


def test_every_failed_check_is_spelled_out() -> None:
    for text in (printed(CASES["fault"]), printed(CASES["conversion"])):
        for check in bad().faults:
            assert " ".join(check.detail.split()) in " ".join(text.split())


def test_a_partial_verdict_is_no_equivalence() -> None:
    lines = printed(terminal.verification(partial())).splitlines()
    assert lines[0].startswith("NO FAULT FOUND in shard 0/4") and lines[-1].startswith("verdict: NO FAULT FOUND in shard 0/4")


def test_what_was_not_found_is_not_shown() -> None:
    empty = printed(terminal.verification(judge(replace(GOOD, layers=(), probes=(), task=None, checks=()))))
    assert not any(word in empty for word in ("worst/bound", "probes", "task", "proof"))
    assert "speed-up" not in printed(terminal.conversion(Conversion("a.pth", "a", (), (good(),))))
    assert "no norms to fold" in printed(terminal.folding("a.pt2", (), "the user's code", {}))
