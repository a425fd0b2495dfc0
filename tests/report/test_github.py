"""Workflow commands: a notice per candidate, an error per failed check, and nothing that a name can break."""

from __future__ import annotations

from dataclasses import replace

from snnconv.report import github
from snnconv.results import Check
from snnconv.results.verdict import judge
from tests.report.examples import GOOD, bad, good, unproven


def test_an_equivalent_candidate_is_one_notice() -> None:
    assert github.annotations([good()]) == [
        "::notice title=snnconv%3A fashion.onnx::EQUIVALENT: fashion.onnx against fashion.pth"
        " (the user's code, samples.fashion:per_channel)"
    ]


def test_every_failed_check_is_an_error() -> None:
    notice, *errors = github.annotations([bad()])
    assert notice.startswith("::notice title=snnconv%3A broken.onnx::NOT EQUIVALENT: broken.onnx against fashion.pth (the ")
    assert notice.endswith("), 5 of 10 checks failed")
    assert len(errors) == 5
    assert errors[0] == (
        "::error title=broken.onnx%3A proof last.neuron::1 of 32 in threshold differ, first at [3]: 0.5000001, not 0.5"
    )


def test_what_would_end_a_command_is_escaped() -> None:
    check = Check("proof", "a,b:c%d", False, "100% of\r\nall, at: x\x1b[0m")
    _, error = github.annotations([judge(replace(GOOD, candidate="n.onnx", checks=(check,)))])
    assert error == "::error title=n.onnx%3A proof a%2Cb%3Ac%25d::100%25 of%0D%0Aall, at: x\\x1b[0m"


def test_at_most_ten_errors_and_then_how_many_more() -> None:
    def lines(count: int) -> list[str]:
        return github.annotations([judge(replace(GOOD, checks=(Check("proof", "a", False, "wrong"),) * count))])[1:]

    assert len(lines(10)) == 10
    assert lines(13)[:10] == lines(10)
    assert lines(13)[10:] == ["::warning title=fashion.onnx::3 more failed checks are in the report"]


def test_what_is_unproven_is_an_error_and_what_was_not_checked_a_warning() -> None:
    notice, error, warning = github.annotations([unproven()])
    assert notice.startswith(
        "::notice title=snnconv%3A slim.onnx::UNPROVEN: no fault found in deployment, task (algebra not checked;"
    )
    assert error.startswith("::error title=slim.onnx%3A proof graph::the graph is not what snnconv")
    assert warning == "::warning title=slim.onnx%3A algebra not checked::Toy 1 does not compute in float64"
