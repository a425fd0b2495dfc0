"""Printing what a command found: for people, as JSON, or as annotations; and the exit code that goes with it."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType

    from snnconv.results import Conversion, Verdict
    from snnconv.results.document import Report

_PIPE_WIDTH = 10_000


def console() -> Console:
    """Results go to stdout, as wide as the terminal; in a pipe a line is as long as it is, whatever COLUMNS is inherited."""
    from rich.console import Console

    from snnconv.report.tables import NARROWEST

    width = max(shutil.get_terminal_size().columns, NARROWEST) if sys.stdout.isatty() else _PIPE_WIDTH
    # Without a height, rich takes every dumb terminal for one of 80 columns.
    return Console(width=width, height=25, highlight=False, emoji=False, markup=False, soft_wrap=False)


def show(*found: RenderableType) -> None:
    """Print what `snnconv.report.terminal` made of a result."""
    console().print(*found, sep="\n")


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2))


def finish_verifications(verdicts: list[Verdict], reports: list[Path], format: str) -> int:
    """Print and report verifications; the exit code says whether all are equivalent."""
    from snnconv.report import github, terminal
    from snnconv.results.document import verification_report

    _write(verification_report(verdicts), reports, json=format == "json")
    if format == "github":
        print("\n".join(github.annotations(verdicts)))
    elif format == "text":
        show(*map(terminal.verification, verdicts))
    return 0 if all(verdict.equivalent for verdict in verdicts) else 1


def finish_conversion(result: Conversion, reports: list[Path], json: bool) -> int:
    """Print and report a conversion; the exit code says whether every artifact is equivalent."""
    from snnconv.report import terminal
    from snnconv.results.document import conversion_report

    _write(conversion_report(result), reports, json)
    if not json:
        show(terminal.conversion(result))
    return 0 if result.equivalent else 1


def _write(report: Report, reports: list[Path], json: bool) -> None:
    """Write every report file; on stdout the document too, if it is `json` that is printed."""
    from snnconv.report import write_report
    from snnconv.results.document import document_of

    for path in reports:
        write_report(path, report)
    if json:
        print_json(document_of(report))
