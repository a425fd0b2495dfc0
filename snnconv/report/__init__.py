"""Rendering results: one JSON document for every command, and report files by suffix."""

from __future__ import annotations

from snnconv.report.document import conversion_document, fold_document, verification_document
from snnconv.report.files import REPORTS, write_report, writer_of

__all__ = ["REPORTS", "conversion_document", "fold_document", "verification_document", "write_report", "writer_of"]
