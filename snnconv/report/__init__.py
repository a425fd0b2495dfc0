"""Rendering results: one JSON document for every command, report files by suffix, annotations for GitHub (`github`).

Importing this is cheap: pydantic, Jinja and matplotlib are loaded where a report needs them.
"""

from __future__ import annotations

from snnconv.report.files import REPORTS, Format, write_report, writer_of
from snnconv.results.content import Report, conversion_report, verification_report
from snnconv.results.document import conversion_document, document_of, fold_document, inspection_document, verification_document
from snnconv.results.plain import from_plain, to_plain
from snnconv.results.reading import read_results
from snnconv.results.schema import schema

__all__ = [
    "REPORTS",
    "Format",
    "Report",
    "conversion_document",
    "conversion_report",
    "document_of",
    "fold_document",
    "from_plain",
    "inspection_document",
    "read_results",
    "schema",
    "to_plain",
    "verification_document",
    "verification_report",
    "write_report",
    "writer_of",
]
