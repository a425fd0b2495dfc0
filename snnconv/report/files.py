"""Report files by suffix: `.json` and JUnit `.xml`. A format is one function and one line in `REPORTS`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snnconv.errors import InputError
from snnconv.files import replacing
from snnconv.results import Verification

Writer = Callable[[Path, dict[str, Any], list[Verification]], None]


def writer_of(path: Path) -> Writer:
    """The writer of a report's suffix. Raises `InputError` for an unknown one."""
    if path.suffix not in REPORTS:
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"a report is one of {', '.join(REPORTS)}")
    return REPORTS[path.suffix]


def write_report(path: Path, document: dict[str, Any], results: list[Verification]) -> None:
    """Write a report to `path`, whole or not at all. Raises `InputError` for an unknown suffix."""
    write = writer_of(path)
    with replacing(path) as draft:
        write(draft.path, document, results)


def _write_json(path: Path, document: dict[str, Any], results: list[Verification]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


def _write_junit(path: Path, document: dict[str, Any], results: list[Verification]) -> None:
    """One suite per candidate, one test case per layer and level."""
    from junitparser import Failure, JUnitXml, TestCase, TestSuite

    xml = JUnitXml("snnconv verify")
    for result in results:
        suite = TestSuite(result.candidate)
        for check in result.checks:
            case = TestCase(check.layer or "whole network", classname=f"{result.candidate}.{check.level}")
            if check.passed:
                case.system_out = check.detail
            else:
                case.result = [Failure(check.detail, "not equivalent")]
            suite.add_testcase(case)
        xml.add_testsuite(suite)
    xml.write(str(path), pretty=True)


REPORTS: dict[str, Writer] = {".json": _write_json, ".xml": _write_junit}
