"""Tables for people, JSON for machines."""

from __future__ import annotations

import json
import shutil
import sys
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rich.console import Console

    from snnconv.results import Conversion, LayerTally, NormStatistics, Site
    from snnconv.results.verdict import Verdict

_PIPE_WIDTH = 10_000
_NARROWEST = 24
"""Columns below which text is not folded: whole words then stand under one another."""


def console() -> Console:
    """Results go to stdout, as wide as the terminal; in a pipe a line is as long as it is, whatever COLUMNS is inherited."""
    from rich.console import Console

    width = max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else _PIPE_WIDTH
    # Without a height, rich takes every dumb terminal for one of 80 columns.
    return Console(width=width, height=25, highlight=False, emoji=False, markup=False, soft_wrap=False)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2))


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[str] = ()) -> None:
    """A plain table; `right` names the columns of numbers. Too wide for the terminal, it folds at words, or becomes a list."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    names, lines, numbers, out = list(columns), [list(row) for row in rows], set(right), console()
    cells = list(zip(names, *lines, strict=True))
    widths, roomy = [max(map(len, column)) for column in cells], True
    least = [_least(column, column[0] in numbers) for column in cells]
    if sum(widths) + 3 * len(widths) > out.width:
        roomy, room = False, out.width - len(widths) + 1
        if sum(least) > room:
            _print_list(out, names, lines)
            return
        widths = _narrowed(widths, least, room)
    table = Table(
        title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, int(roomy)), show_edge=roomy
    )
    for name, width in zip(names, widths, strict=True):
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold", width=width)
    for line in lines:
        table.add_row(*line)
    out.print(*(() if roomy else ("",)), table, sep="\n")


def _least(cells: tuple[str, ...], number: bool) -> int:
    """The width that a column needs: words and numbers stay whole, and text keeps a few words a line."""
    words = max(len(word) for cell in cells for word in cell.split())
    return words if number else max(words, min(max(map(len, cells)), _NARROWEST))


def _narrowed(widths: list[int], least: list[int], room: int) -> list[int]:
    """`widths`, the widest made narrower one by one until all fit into `room`, which holds `least`."""
    narrow = list(widths)
    while sum(narrow) > room:
        widest = max(range(len(narrow)), key=lambda i: (narrow[i] > least[i], narrow[i]))
        narrow[widest] -= 1
    return narrow


def _print_list(out: Console, names: list[str], lines: list[list[str]]) -> None:
    """Row under row, each value behind the name of its column."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        for name, value in zip(names, line, strict=True):
            if value:
                grid.add_row(f" {name}", value)
        grid.add_row()
    out.print()
    out.print(grid)


def print_sites(sites: Iterable[Site]) -> None:
    """What became of every norm."""
    rows = [(s.path, s.kind, s.into or "-", s.outcome, s.detail) for s in sites]
    print_table("", ("norm at", "kind", "into", "outcome", "detail"), rows)


def print_statistics(sites: Iterable[Site]) -> None:
    """What the norms hold, as they were trained; `var ~ 0` counts variances of at most ten times eps."""
    columns = ("norm at", "values", "gamma", "< 0", "= 0", "mean", "variance", "var ~ 0")
    rows = [(site.path, *_statistics(site.statistics)) for site in sites if site.statistics is not None]
    if rows:
        print_table("", columns, rows, right=columns[1:])


def _statistics(s: NormStatistics) -> tuple[str, ...]:
    negative, zero, near_zero = map(str, (s.gamma_negative, s.gamma_zero, s.variance_near_zero))
    return f"{s.values:,}", _span(s.gamma), negative, zero, _span(s.mean), _span(s.variance), near_zero


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g}" if ends[0] == ends[1] else f"{ends[0]:.4g} to {ends[1]:.4g}"


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Texts with their names before them, wrapped to the width."""
    out = console()
    for name, text in facts:
        margins = f"{name:<9}  ", " " * 11
        out.print(fill(text, out.width, initial_indent=margins[0], subsequent_indent=margins[1], break_on_hyphens=False))


def origin(reference: str, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Whose code decides, and what was settled where."""
    from snnconv.report.provenance import settings_line

    return [("reference", reference), ("settings", settings_line(settings))]


def sites_line(sites: Iterable[Site]) -> str:
    """`41 norms folded: 19 exact, 22 rounding`."""
    outcomes = [site.outcome for site in sites]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(sorted(outcomes)))
    return f"{len(outcomes)} norms folded: {counts}" if outcomes else "no norms to fold"


def print_verification(verdict: Verdict) -> None:
    """The verdict first, then the layers, then every level and what failed on it."""
    out, found = console(), verdict.verification
    out.print(f"{verdict.word}  {found.candidate}  against  {found.source}", style="bold")
    facts = [*origin(found.reference, found.settings), ("runtime", found.runtime), ("data", _data(verdict))]
    print_facts([*facts, *(("note", note) for note in found.notes)])
    if found.layers:
        columns = ("layer", "values", "explained", "unexplained", "outside", "worst/bound", "rate before", "rate after")
        print_table("", columns, [_row(tally) for tally in found.layers], right=columns[1:])
    for probe in found.probes:
        reached = [units for units in probe.nearest.values() if units is not None]
        nearest = f", nearest {min(reached):.3g} units in the last place from a threshold" if reached else ""
        out.print(f"probes   {probe.name}: {probe.samples} inputs{nearest}")
    if found.difference is not None:
        first = found.difference
        out.print(f"first    difference at sample {first.sample}, step {first.step}, {first.layer}, neuron {first.neuron}")
    for level in dict.fromkeys(check.level for check in verdict.checks):
        checks = [check for check in verdict.checks if check.level == level]
        failed = [check for check in checks if not check.passed]
        summary = checks[0].detail if len(checks) == 1 else f"{len(checks) - len(failed)} of {len(checks)} checks"
        if level == "task":
            summary = checks[0].detail
        out.print(f"{'FAIL' if failed else 'ok':<5}{level:<12}{summary}")
        for check in failed if len(checks) > 1 else ():
            out.print(f"     {check.layer or 'whole network'}: {check.detail}")
    out.print(f"verdict: {verdict.word} ({found.seconds:.1f} s)", style="bold")


def _data(verdict: Verdict) -> str:
    data = verdict.verification.data
    return f"{data.samples} samples of {data.origin}"


def _row(tally: LayerTally) -> tuple[str, ...]:
    spiking = tally.name != "output"
    return (
        tally.name,
        f"{tally.values:,}",
        str(tally.explained),
        str(tally.unexplained),
        str(tally.outside),
        "not a number" if tally.worst is None else f"{tally.worst:.1%}",
        f"{tally.rate_reference:.3f}" if spiking else "",
        f"{tally.rate_candidate:.3f}" if spiking else "",
    )


def print_conversion(result: Conversion) -> None:
    """A summary to read in ten seconds."""
    out = console()
    word = "EQUIVALENT" if result.equivalent else "NOT EQUIVALENT"
    out.print(f"{word}  {result.source} ({result.arch})", style="bold")
    facts = [("folded", sites_line(result.sites))]
    for found in [verdict.verification for verdict in result.verdicts][:1]:
        facts += origin(found.reference, found.settings)
    for verdict in result.verdicts:
        facts += _brief(verdict)
    print_facts(facts)
    if result.measures:
        before = result.measures[0]
        rows = [
            (m.name, f"{m.size / 1e6:.2f} MB" if m.size else "-", f"{m.latency:.2f} ms", f"{before.latency / m.latency:.2f}x")
            for m in result.measures
        ]
        print_table("", (f"batch {before.batch}", "size", "latency", "speed-up"), rows, right=("size", "latency", "speed-up"))


def _brief(verdict: Verdict) -> list[tuple[str, str]]:
    found = verdict.verification
    explained = sum(t.explained for t in found.layers)
    unexplained = sum(t.unexplained for t in found.layers)
    values = sum(t.values for t in found.layers)
    facts = [
        ("verified", f"{found.candidate}: {verdict.word} in {found.runtime}, on {_data(verdict)}"),
        ("flips", f"{unexplained} unexplained, {explained} explained by rounding, of {values:,} values"),
    ]
    said = [check for check in verdict.checks if check.passed and check.level == "task" and check.layer != "unwatched run"]
    facts += [("task", check.detail) for check in said]
    return facts + [("FAIL", f"{check.level} {check.layer}: {check.detail}") for check in verdict.faults]


def finish_verifications(verdicts: list[Verdict], reports: list[Path], format: str) -> int:
    """Print and report verifications; the exit code says whether all are equivalent."""
    from snnconv.report import github, write_report
    from snnconv.results.document import document_of, verification_report

    report = verification_report(verdicts)
    for path in reports:
        write_report(path, report)
    if format == "json":
        print_json(document_of(report))
    elif format == "github":
        print("\n".join(github.annotations(verdicts)))
    else:
        for verdict in verdicts:
            print_verification(verdict)
    return 0 if all(verdict.equivalent for verdict in verdicts) else 1


def finish_conversion(result: Conversion, reports: list[Path], json: bool) -> int:
    """Print and report a conversion; the exit code says whether every artifact is equivalent."""
    from snnconv.report import write_report
    from snnconv.results.document import conversion_report, document_of

    report = conversion_report(result)
    for path in reports:
        write_report(path, report)
    if json:
        print_json(document_of(report))
    else:
        print_conversion(result)
    return 0 if result.equivalent else 1
