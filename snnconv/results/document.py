"""What goes into the JSON document of every command, and results as JSON values; `snnconv.results.schema` has the layout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import snnconv
from snnconv.results.conversion import Conversion, Measure
from snnconv.results.folding import Site
from snnconv.results.inspection import Inspection
from snnconv.results.schema import OPTIONAL, SCHEMA
from snnconv.results.verdict import Policy, Verdict
from snnconv.results.verification import Verification


@dataclass(frozen=True)
class Report:
    """The verdicts of a command and, for `convert`, what was folded and measured.

    Raises `ValueError` for verdicts under different policies: a document states one.
    """

    command: str
    verdicts: tuple[Verdict, ...]
    source: str = ""
    arch: str = ""
    sites: tuple[Site, ...] = ()
    measures: tuple[Measure, ...] = ()

    def __post_init__(self) -> None:
        if any(verdict.policy != self.policy for verdict in self.verdicts):
            raise ValueError("verdicts under different policies do not fit into one report")

    @property
    def policy(self) -> Policy:
        """The policy of every verdict."""
        return self.verdicts[0].policy if self.verdicts else Policy()

    @property
    def equivalent(self) -> bool:
        """Whether there is something to judge and nothing of it failed."""
        return bool(self.verdicts) and all(verdict.equivalent for verdict in self.verdicts)


def verification_report(verdicts: Iterable[Verdict]) -> Report:
    """The report of `verify`."""
    return Report("verify", tuple(verdicts))


def conversion_report(result: Conversion) -> Report:
    """The report of `convert`."""
    return Report("convert", result.verdicts, result.source, result.arch, result.sites, result.measures)


def inspection_document(source: str, found: Inspection) -> dict[str, Any]:
    """What `inspect` saw."""
    document: dict[str, Any] = jsonable({**_head("inspect"), "source": source, "foldable": found.folds, **asdict(found)})
    return document


def benchmark_document(measures: Iterable[Measure]) -> dict[str, Any]:
    """What `bench` measured."""
    document: dict[str, Any] = jsonable({**_head("bench"), "measures": [asdict(measure) for measure in measures]})
    return document


def fold_document(
    source: str, output: str, arch: str, sites: Iterable[Site], reference: str, settings: dict[str, str]
) -> dict[str, Any]:
    """What `fold` did."""
    origin = {"source": source, "output": output, "arch": arch, "reference": reference, "settings": settings}
    document: dict[str, Any] = jsonable({**_head("fold"), **origin, "sites": [asdict(site) for site in sites]})
    return document


def verification_document(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """What `verify` found, one entry per candidate."""
    return document_of(verification_report(verdicts))


def conversion_document(result: Conversion) -> dict[str, Any]:
    """What `convert` did and found."""
    return document_of(conversion_report(result))


def document_of(report: Report) -> dict[str, Any]:
    """The document of a report."""
    head = {**_head(report.command), "equivalent": report.equivalent, "policy": asdict(report.policy)}
    body: dict[str, Any] = {"results": [_result(verdict) for verdict in report.verdicts]}
    if report.command == "convert":
        sites, measures = ([asdict(entry) for entry in entries] for entries in (report.sites, report.measures))
        body = {"source": report.source, "arch": report.arch, "sites": sites, **body, "measures": measures}
    document: dict[str, Any] = jsonable({**head, **body})
    return document


def to_plain(found: Verification) -> dict[str, Any]:
    """All fields of a verification, flat. Lists, dicts, strings, numbers, booleans and None only.

    What is `OPTIONAL` is left out if it holds nothing.
    """
    plain: dict[str, Any] = jsonable(asdict(found))
    return {name: value for name, value in plain.items() if name not in OPTIONAL or value}


def jsonable(value: Any) -> Any:
    """JSON has no NaN, no infinity and no half of a surrogate pair: the numbers become null, the halves their escapes."""
    if isinstance(value, Mapping):
        return {jsonable(key): jsonable(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _head(command: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "snnconv": snnconv.__version__, "command": command}


def _result(verdict: Verdict) -> dict[str, Any]:
    checks = [asdict(check) for check in verdict.checks]
    judgement = {"equivalent": verdict.equivalent, "complete": verdict.complete, "word": verdict.word, "checks": checks}
    return {**to_plain(verdict.verification), "verdict": judgement}
