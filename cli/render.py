"""Tables for people, JSON for machines."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from snnconv.results import Conversion, Site, Verification

_PIPE_WIDTH = 120


def console() -> Console:
    """Results go to stdout, as wide as the terminal, or 120 columns in a pipe."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2))


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[str] = ()) -> None:
    """A plain table; `right` names the columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    numbers = set(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_sites(sites: Iterable[Site]) -> None:
    """What became of every norm."""
    rows = [(s.path, s.kind, s.into or "-", s.outcome, s.detail) for s in sites]
    print_table("", ("norm at", "kind", "into", "outcome", "detail"), rows)


def sites_line(sites: Iterable[Site]) -> str:
    """`41 norms folded: 19 exact, 22 rounding`."""
    outcomes = [site.outcome for site in sites]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(sorted(outcomes)))
    return f"{len(outcomes)} norms folded: {counts}" if outcomes else "no norms to fold"


def print_verification(result: Verification) -> None:
    """The verdict first, then the layers, then what failed."""
    out = console()
    out.print(f"{verdict(result)}  {result.candidate}  against  {result.source}", style="bold")
    out.print(f"runtime  {result.runtime}\ndata     {result.data}")
    for note in result.notes:
        out.print(f"note     {note}")
    if result.layers:
        rows = [
            (
                t.name,
                f"{t.decisions:,}",
                str(t.explained),
                str(t.unexplained),
                str(t.outside),
                f"{t.worst:.1%}",
                f"{t.rate_reference:.3f}" if t.name != "output" else "",
                f"{t.rate_candidate:.3f}" if t.name != "output" else "",
            )
            for t in result.layers
        ]
        columns = ("layer", "values", "explained", "unexplained", "outside", "worst/bound", "rate before", "rate after")
        print_table("", columns, rows, right=columns[1:])
    for level in dict.fromkeys(check.level for check in result.checks):
        checks = [check for check in result.checks if check.level == level]
        failed = [check for check in checks if not check.passed]
        summary = checks[0].detail if len(checks) == 1 else f"{len(checks) - len(failed)} of {len(checks)} layers"
        out.print(f"{'FAIL' if failed else 'ok':<5}{level:<12}{summary}")
        for check in failed if len(checks) > 1 else ():
            out.print(f"     {check.layer}: {check.detail}")
    out.print(f"verdict: {verdict(result)} ({result.seconds:.1f} s)", style="bold")


def verdict(result: Verification | Conversion) -> str:
    return "EQUIVALENT" if result.equivalent else "NOT EQUIVALENT"


def print_conversion(result: Conversion) -> None:
    """A summary to read in ten seconds."""
    out = console()
    out.print(f"{verdict(result)}  {result.source} ({result.arch})", style="bold")
    out.print(f"folded    {sites_line(result.sites)}")
    for v in result.verifications:
        _print_brief(out, v)
    if result.measures:
        before = result.measures[0]
        rows = [
            (m.name, f"{m.size / 1e6:.2f} MB" if m.size else "-", f"{m.latency:.1f} ms", f"{before.latency / m.latency:.2f}x")
            for m in result.measures
        ]
        print_table("", ("batch 1", "size", "latency", "speed-up"), rows, right=("size", "latency", "speed-up"))


def _print_brief(out: Console, v: Verification) -> None:
    explained = sum(t.explained for t in v.layers)
    unexplained = sum(t.unexplained for t in v.layers)
    values = sum(t.decisions for t in v.layers)
    out.print(f"verified  {v.candidate}: {verdict(v)} in {v.runtime}, on {v.data}")
    out.print(f"flips     {unexplained} unexplained, {explained} explained by rounding, of {values:,} values")
    if v.task:
        accuracy = ""
        if v.task.accuracy_reference is not None and v.task.accuracy_candidate is not None:
            accuracy = f", accuracy {v.task.accuracy_reference:.2%} -> {v.task.accuracy_candidate:.2%}"
        out.print(f"task      argmax agrees {v.task.agreement:.2%}, logit error {v.task.logit_error:.2g}{accuracy}")
    for check in v.faults:
        out.print(f"FAIL      {check.level} {check.layer}: {check.detail}")


def finish_verifications(results: list[Verification], reports: list[Path], json: bool) -> int:
    """Print and report verifications; the exit code says whether all are equivalent."""
    from snnconv.report import verification_document, write_report

    document = verification_document(results)
    for path in reports:
        write_report(path, document, results)
    if json:
        print_json(document)
    else:
        for result in results:
            print_verification(result)
    return 0 if all(result.equivalent for result in results) else 1


def finish_conversion(result: Conversion, reports: list[Path], json: bool) -> int:
    """Print and report a conversion; the exit code says whether every artifact is equivalent."""
    from snnconv.report import conversion_document, write_report

    document = conversion_document(result)
    for path in reports:
        write_report(path, document, list(result.verifications))
    if json:
        print_json(document)
    else:
        print_conversion(result)
    return 0 if result.equivalent else 1
