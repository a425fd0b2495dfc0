"""JUnit: one suite per candidate, one case per level, layer and kind of probe."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from junitparser import JUnitXml, TestSuite

from snnconv.report.junit import render_junit
from snnconv.results import Check
from snnconv.results.document import verification_report
from snnconv.results.verdict import Verdict, judge
from tests.report.examples import BAD, GOOD, bad, good, unproven


def suites(*verdicts: Verdict) -> list[TestSuite]:
    return list(JUnitXml.fromstring(render_junit(verification_report(verdicts)).encode()))


def test_a_suite_has_the_name_the_counts_and_the_seconds_of_its_candidate() -> None:
    first, second = suites(good(), bad())
    assert (first.name, first.tests, first.failures, first.skipped, first.time) == ("fashion.onnx", 14, 0, 0, 1.6)
    assert (second.name, second.tests, second.failures, second.skipped, second.time) == ("broken.onnx", 11, 5, 1, 0.4)


def test_the_whole_adds_up() -> None:
    xml = JUnitXml.fromstring(render_junit(verification_report([good(), bad()])).encode())
    assert (xml.name, xml.tests, xml.failures, xml.skipped, xml.time) == ("snnconv verify", 25, 5, 1, 2.0)


def test_probes_have_their_own_class() -> None:
    (suite,) = suites(bad())
    cases = [(case.classname, case.name, case.is_failure) for case in suite]
    assert cases == [
        ("broken.onnx.contract", "whole network", False),
        ("broken.onnx.proof", "last.neuron", True),
        ("broken.onnx.deployment.tie probes", "first.neuron", False),
        ("broken.onnx.deployment.tie probes", "last.neuron", True),
        ("broken.onnx.deployment", "first.neuron", False),
        ("broken.onnx.deployment", "last.neuron", True),
        ("broken.onnx.deployment", "output", True),
        ("broken.onnx.deployment", "whole network", False),
        ("broken.onnx.task", "whole network", True),
        ("broken.onnx.task", "explained decisions", False),
        ("broken.onnx.algebra", "whole network", False),
    ]


def test_no_name_stands_twice_in_a_class() -> None:
    twice = replace(GOOD, checks=GOOD.checks * 2)
    names = Counter((case.classname, case.name) for suite in suites(judge(twice), judge(twice)) for case in suite)
    assert set(names.values()) == {1}
    assert names["fashion.onnx.proof", "first.conv (2)"] == 1


def test_a_failure_carries_its_detail_and_a_level_left_out_is_skipped() -> None:
    (suite,) = suites(bad())
    failed = next(case for case in suite if case.is_failure)
    assert failed.result[0].message == "1 of 32 in threshold differ, first at [3]: 0.5000001, not 0.5"
    assert failed.result[0].text == failed.result[0].message
    (skipped,) = [case for case in suite if case.is_skipped]
    assert skipped.classname == "broken.onnx.algebra"


def test_what_is_unproven_fails_and_what_was_not_checked_is_skipped_with_its_reason() -> None:
    (suite,) = suites(unproven())
    (failed,) = [case for case in suite if case.is_failure]
    assert (failed.classname, failed.name, failed.result[0].type) == ("slim.onnx.proof", "graph", "unproven")
    (skipped,) = [case for case in suite if case.is_skipped]
    assert skipped.classname == "slim.onnx.algebra" and skipped.result[0].message == "Toy 1 does not compute in float64"


def test_properties_tell_where_it_comes_from() -> None:
    (suite,) = suites(bad())
    properties = {entry.name: entry.value for entry in suite.properties()}
    assert properties["verdict"] == "NOT EQUIVALENT"
    assert properties["source sha256"] == BAD.source_sha256
    assert properties["data fingerprint"] == BAD.data.fingerprint
    assert properties["shard"] == "1/4"
    assert properties["policy explained-flips"] == "1e-06"
    assert properties["cpu"] == "x86_64, AVX-512"


def test_what_xml_cannot_hold_is_escaped() -> None:
    check = Check("deployment", "a\x00<b>&\ud800", False, "first\nsecond \x1b[31m ]]>")
    (suite,) = suites(judge(replace(GOOD, candidate="n\x07.onnx", checks=(check,), probes=(), layers=(), task=None)))
    assert suite.name == "n\\x07.onnx"
    (case,) = [case for case in suite if case.is_failure]
    assert case.name == "a\\x00<b>&\\ud800"
    assert case.result[0].text == "first\nsecond \\x1b[31m ]]>"
