"""JUnit XML: one suite per candidate, one case per level, layer and kind of probe."""

from __future__ import annotations

import io
from typing import Any

import snnconv
from snnconv.report.provenance import provenance
from snnconv.report.renderers import Renderer
from snnconv.report.text import one_line, printable
from snnconv.results import LEVELS, NOT_CHECKED, Verdict
from snnconv.results.document import Report


def render_junit(report: Report) -> str:
    """A report as JUnit XML. A level that did not run, or a check that could not, is a skipped case."""
    from junitparser import JUnitXml

    xml = JUnitXml(f"snnconv {report.command}")
    names: set[tuple[str, str]] = set()
    for verdict in report.verdicts:
        xml.append(_suite(verdict, names))
    seconds = sum(verdict.verification.seconds for verdict in report.verdicts)
    cases = [case for suite in xml for case in suite]
    xml.tests, xml.failures, xml.errors = len(cases), sum(case.is_failure for case in cases), 0
    xml.skipped, xml.time = sum(case.is_skipped for case in cases), round(seconds, 3)
    text = io.BytesIO()
    xml.write(text, pretty=True)
    return text.getvalue().decode("utf-8")


def _suite(verdict: Verdict, names: set[tuple[str, str]]) -> Any:
    from junitparser import Failure, Skipped, TestSuite

    found = verdict.verification
    suite = TestSuite(one_line(found.candidate))
    for key, value in (("snnconv", snnconv.__version__), ("verdict", verdict.word), *provenance(verdict)):
        suite.add_property(one_line(key), one_line(value))
    for check in verdict.checks:
        case = _case(found.candidate, check.level, check.layer, check.probe, names)
        if check.passed:
            case.system_out = printable(check.detail)
        elif check.open == NOT_CHECKED:
            case.result = [Skipped(one_line(check.detail))]
        else:
            failure = Failure(one_line(check.detail), "unproven" if check.open else "not equivalent")
            failure.text = printable(check.detail)
            case.result = [failure]
        suite.append(case)
    for level in LEVELS:
        if level not in found.levels and not any(check.level == level for check in verdict.checks):
            case = _case(found.candidate, level, "", "", names)
            case.result = [Skipped("this level did not run")]
            suite.append(case)
    suite.update_statistics()
    suite.time = round(found.seconds, 3)
    return suite


def _case(candidate: str, level: str, layer: str, probe: str, names: set[tuple[str, str]]) -> Any:
    """A case whose name is new within its class."""
    from junitparser import TestCase

    where = one_line(".".join(part for part in (candidate, level, f"{probe} probes" if probe else "") if part))
    name = wanted = one_line(layer) or "whole network"
    count = 1
    while (where, name) in names:
        count += 1
        name = f"{wanted} ({count})"
    names.add((where, name))
    return TestCase(name, classname=where)


RENDERER = Renderer(render_junit)
