"""Verdicts as GitHub workflow commands: lines on stdout that a job shows as annotations."""

from collections.abc import Iterable

from snnconv.report.provenance import assumed, settings_line
from snnconv.report.text import printable
from snnconv.report.verdicts import place
from snnconv.results import Verification
from snnconv.results.verdict import Verdict

MOST_ERRORS = 10
"""GitHub shows ten errors, ten warnings and ten notices of a step."""


def annotations(verdicts: Iterable[Verdict]) -> list[str]:
    """One notice with the verdict per candidate, then an error per failed or unproven check; if there are too many to show, a
    warning says how many were left out (warnings have their own limit). What was not checked is one warning each."""
    return [line for verdict in verdicts for line in _of(verdict)]


def _of(verdict: Verdict) -> list[str]:
    found, faults = verdict.verification, (*verdict.faults, *verdict.unproven)
    failed = f", {len(verdict.faults)} of {len(verdict.checks)} checks failed" if verdict.faults else ""
    lines = [
        _command(
            "notice", f"snnconv: {found.candidate}", f"{verdict.word}: {found.candidate} against {_reference(found)}{failed}"
        )
    ]
    lines += (_command("error", f"{found.candidate}: {place(check)}", check.detail) for check in faults[:MOST_ERRORS])
    if len(faults) > MOST_ERRORS:
        lines.append(_command("warning", found.candidate, f"{len(faults) - MOST_ERRORS} more failed checks are in the report"))
    lines += (_command("warning", f"{found.candidate}: {place(check)} not checked", check.detail) for check in verdict.unchecked)
    return lines


def _reference(found: Verification) -> str:
    """The source, whose code it is, and what was assumed of it."""
    names = assumed(found.settings)
    return f"{found.source} ({found.reference}{'; assumed ' + settings_line(names) if names else ''})"


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
