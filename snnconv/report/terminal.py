"""What the commands print for people: a summary to read in ten seconds, then tables, then what failed.

Every function gives something that a `rich` console prints; it fits itself to the width of the console.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from snnconv.report.provenance import settings_line
from snnconv.report.tables import Facts, FittedTable
from snnconv.report.text import count, rate
from snnconv.report.verdicts import PASSED, Level, check_state, headline, levels, place, worst_error
from snnconv.results import (
    KEPT,
    Check,
    Conversion,
    Inspection,
    LayerTally,
    Measure,
    NormStatistics,
    Probe,
    Site,
    Verdict,
    is_output,
)


def inspection(source: str, found: Inspection, todo: str = "") -> RenderableType:
    """What `inspect` saw; `todo` says what to do about layers that nothing knows."""
    neurons = FittedTable(("neuron", "potential", "semantics"), ((n.name, n.shape, n.words) for n in found.neurons))
    if found.unknown:
        rows = ((path or "the network", kind, "keeps a state, and no adapter knows it") for path, kind in found.unknown.items())
        unknown = FittedTable(("unknown at", "class", "why"), rows)
        return Group(*_overview(source, found), neurons, unknown, Text(f"cannot be converted: {todo}"))
    kept = any(site.outcome == KEPT for site in found.sites)
    folds = "every norm folds, but for those kept" if kept else "every norm folds"
    end = folds if found.folds else "cannot be folded: see the refused norms above"
    ends = [*_adapters(found), Text(end), *_formats(found.formats)]
    return Group(*_overview(source, found), neurons, *_statistics(found.sites), _sites(found.sites), *ends)


def _formats(found: Mapping[str, str]) -> Iterator[Text]:
    """Which formats can hold a network, and why others cannot."""
    able = [name for name, refusal in found.items() if not refusal]
    if able:
        yield Text(f"converts to {', '.join(able)}")
    yield from (Text(f"does not convert to {name}: {refusal}") for name, refusal in found.items() if refusal)


def _adapters(found: Inspection) -> Iterator[Text]:
    """The adapters of identified layers, to paste into the file of the factory."""
    for name, text in found.adapters.items():
        yield Text(f"what {name} was identified as, to paste into the file of the factory:\n")
        yield Text(text + "\n")


def _overview(source: str, found: Inspection) -> Iterator[Text]:
    yield _bold(f"{source}: {found.arch}, {count(found.parameters)} parameters")
    if found.operations is not None and found.state_bytes is not None:
        yield Text(f"  a time step  {count(found.operations)} multiply-accumulates, {count(found.state_bytes)} bytes of state")
    yield Text(f"  reference    {found.reference}")
    yield from (Text(f"  {name.replace('_', '-'):<12} {value}") for name, value in found.settings.items())
    yield from (Text(f"  note         {note}") for note in found.notes)


def folding(output: str, sites: tuple[Site, ...], reference: str, settings: Mapping[str, str]) -> RenderableType:
    """What `fold` did."""
    return Group(_sites(sites), Facts(_origin(reference, settings)), _bold(f"{output}: {_folded(sites)}"))


def verification(verdict: Verdict) -> RenderableType:
    """What `verify` found about one candidate: the verdict first, then the layers, then every level and what failed on it."""
    found = verdict.verification
    facts = [*_origin(found.reference, found.settings), ("runtime", found.runtime), ("data", _data(verdict))]
    parts: list[RenderableType] = [
        _bold(f"{verdict.word}  {found.candidate}  against  {found.source}"),
        Facts([*facts, *(("note", note) for note in found.notes)]),
    ]
    if found.layers:
        columns = ("layer", "values", "explained", "unexplained", "outside", "worst/bound", "rate before", "rate after")
        parts.append(FittedTable(columns, map(_layer, found.layers), right=columns[1:]))
    parts += map(_probe, found.probes)
    if found.difference is not None:
        first = found.difference
        parts.append(
            Text(f"first    difference at sample {first.sample}, step {first.step}, {first.layer}, neuron {first.neuron}")
        )
    parts += (line for level in levels(verdict) if level.checks for line in _level(level))
    return Group(*parts, _bold(f"verdict: {verdict.word} ({found.seconds:.1f} s)"))


def _layer(tally: LayerTally) -> tuple[str, ...]:
    rates = ("", "") if is_output(tally.name) else (rate(tally.rate_reference), rate(tally.rate_candidate))
    counts = (count(tally.values), count(tally.explained), count(tally.unexplained), count(tally.outside))
    return (tally.name, *counts, worst_error(tally), *rates)


def _probe(probe: Probe) -> Text:
    nearest = f", nearest {probe.closest[0]:.3g} units in the last place from a threshold" if probe.closest else ""
    return Text(f"probes   {probe.name}: {probe.samples} inputs{nearest}")


def _level(level: Level) -> Iterator[Text]:
    yield Text(f"{level.state.short:<5}{level.name:<12}{level.said}")
    for check in _remarkable(level.checks):
        if check.detail not in level.said:
            yield Text(f"     {check.layer or 'whole network'}: {check.detail}")


def _remarkable(checks: Iterable[Check]) -> list[Check]:
    """The checks to spell out: all that did not pass."""
    return [check for check in checks if check_state(check) != PASSED]


def conversion(result: Conversion) -> RenderableType:
    """What `convert` did and found."""
    facts = [("folded", _folded(result.sites))]
    for found in [verdict.verification for verdict in result.verdicts][:1]:
        facts += _origin(found.reference, found.settings)
    for verdict in result.verdicts:
        facts += _brief(verdict)
    facts += [("note", note) for note in dict.fromkeys(n for verdict in result.verdicts for n in verdict.verification.notes)]
    head = _bold(f"{headline(result.verdicts)}  {result.source} ({result.arch})")
    return Group(head, Facts(facts), *_measures(result.measures))


def _brief(verdict: Verdict) -> Iterator[tuple[str, str]]:
    found = verdict.verification
    explained, unexplained = sum(t.explained for t in found.layers), sum(t.unexplained for t in found.layers)
    values = sum(t.values for t in found.layers)
    yield "verified", f"{found.candidate}: {verdict.word} in {found.runtime}, on {_data(verdict)}"
    yield "flips", f"{unexplained} unexplained, {explained} explained by rounding, of {count(values)} values"
    for check in verdict.checks:
        if check.level == "task" and not check.layer.endswith("unwatched run") and check_state(check) == PASSED:
            yield "task", f"{check.layer}: {check.detail}" if found.outputs else check.detail
    for check in _remarkable(verdict.checks):
        yield check_state(check).short, f"{place(check)}: {check.detail}"


def benchmark(measures: tuple[Measure, ...]) -> RenderableType:
    """What `bench` measured."""
    return Group(*_measures(measures))


def _measures(measures: tuple[Measure, ...]) -> Iterator[FittedTable]:
    if measures:
        before = measures[0]
        rows = [
            (m.name, f"{m.size / 1e6:.2f} MB" if m.size else "-", f"{m.latency:.2f} ms", f"{before.latency / m.latency:.2f}x")
            for m in measures
        ]
        columns = (f"batch {before.batch}", "size", "latency", "speed-up")
        yield FittedTable(columns, rows, right=columns[1:])


def _sites(sites: Iterable[Site]) -> FittedTable:
    """What became of every norm."""
    rows = [(s.path, s.kind, s.into or "-", s.outcome, s.detail) for s in sites]
    return FittedTable(("norm at", "kind", "into", "outcome", "detail"), rows)


def _statistics(sites: Iterable[Site]) -> Iterator[FittedTable]:
    """What the norms hold, as they were trained; `var ~ 0` counts variances of at most ten times eps."""
    columns = ("norm at", "values", "gamma", "< 0", "= 0", "mean", "variance", "var ~ 0")
    rows = [(site.path, *_constants(site.statistics)) for site in sites if site.statistics is not None]
    if rows:
        yield FittedTable(columns, rows, right=columns[1:])


def _constants(s: NormStatistics) -> tuple[str, ...]:
    negative, zero, near_zero = map(str, (s.gamma_negative, s.gamma_zero, s.variance_near_zero))
    return count(s.values), _span(s.gamma), negative, zero, _span(s.mean), _span(s.variance), near_zero


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g}" if ends[0] == ends[1] else f"{ends[0]:.4g} to {ends[1]:.4g}"


def _folded(sites: Iterable[Site]) -> str:
    """`41 norms folded: 19 exact, 22 rounding`, and the norms that are kept."""
    listed = list(sites)
    kept = [site for site in listed if site.outcome == KEPT]
    outcomes = [site.outcome for site in listed if site.outcome != KEPT]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(sorted(outcomes)))
    said = [f"{len(outcomes)} norms folded: {counts}" if outcomes else "no norms to fold"]
    said += [f"norms kept: {', '.join(f'{site.kind} at {site.path}' for site in kept)}"] if kept else []
    return "; ".join(said)


def _origin(reference: str, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Whose code decides, and what was settled where."""
    return [("reference", reference), ("settings", settings_line(settings))]


def _data(verdict: Verdict) -> str:
    data = verdict.verification.data
    return f"{data.samples} samples of {data.origin}"


def _bold(text: str) -> Text:
    return Text(text, style="bold")
