"""Results as JSON documents, laid out as in `snnconv.results.layout`. `schema` names the layout and changes with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import snnconv
from snnconv.results import Inspection, Site
from snnconv.results.content import Report, conversion_report, verification_report
from snnconv.results.layout import SCHEMA
from snnconv.results.plain import jsonable, to_plain
from snnconv.results.verdict import Verdict

if TYPE_CHECKING:
    from snnconv.results.verdict import Conversion


def inspection_document(source: str, found: Inspection) -> dict[str, Any]:
    """What `inspect` saw."""
    document: dict[str, Any] = jsonable({**_head("inspect"), "source": source, "foldable": found.folds, **asdict(found)})
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


def render_json(report: Report) -> str:
    """A report as JSON text."""
    return json.dumps(document_of(report), indent=2, allow_nan=False) + "\n"


def _head(command: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "snnconv": snnconv.__version__, "command": command}


def _result(verdict: Verdict) -> dict[str, Any]:
    checks = [asdict(check) for check in verdict.checks]
    judgement = {"equivalent": verdict.equivalent, "complete": verdict.complete, "word": verdict.word, "checks": checks}
    return {**to_plain(verdict.verification), "verdict": judgement}
