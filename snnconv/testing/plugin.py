"""A pytest plugin: the fixture `assert_equivalent`, and reports of what it found with `--snnconv-reports FOLDER`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from snnconv.results.verdict import Verdict


def pytest_addoption(parser: pytest.Parser) -> None:
    """The folder for reports."""
    group = parser.getgroup("snnconv")
    group.addoption("--snnconv-reports", metavar="FOLDER", help="write a .json and an .html report of every assert_equivalent")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a folder that cannot be one before any test has run."""
    folder = config.getoption("--snnconv-reports")
    if folder and Path(folder).exists() and not Path(folder).is_dir():
        raise pytest.UsageError(f"--snnconv-reports {folder}: is a file; name a folder")


@pytest.fixture
def assert_equivalent(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Callable[..., Verdict]:
    """`snnconv.testing.assert_equivalent`, whose verdict also goes into pytest's own report and into `--snnconv-reports`."""
    from snnconv.testing import NotEquivalent
    from snnconv.testing import assert_equivalent as check

    made = 0

    def note(verdict: Verdict) -> None:
        nonlocal made
        made += 1
        record_property("snnconv", f"{verdict.verification.candidate}: {verdict.word}")
        folder = request.config.getoption("--snnconv-reports")
        if folder:
            _write(Path(folder), f"{request.node.nodeid}-{made}", verdict)

    def checked(*arguments: Any, **options: Any) -> Verdict:
        try:
            verdict = check(*arguments, **options)
        except NotEquivalent as error:
            note(error.verdict)
            raise
        note(verdict)
        return verdict

    return checked


def _write(folder: Path, name: str, verdict: Verdict) -> None:
    from snnconv.report import write_report
    from snnconv.results.document import verification_report

    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "_", name)
    for suffix in (".json", ".html"):
        write_report(folder / f"{stem}{suffix}", verification_report([verdict]))
