"""Rendering results: report files by suffix, annotations for GitHub (`github`).

Importing this is cheap: pydantic, Jinja and matplotlib are loaded only if a report needs them.
"""

from __future__ import annotations

from snnconv.report.files import REPORTS, Format, write_report, writer_of

__all__ = ["REPORTS", "Format", "write_report", "writer_of"]
