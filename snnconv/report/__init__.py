"""Rendering results, one file per kind of report: files by their suffix (`renderers`), the terminal, annotations for GitHub.

Importing this is cheap: what a renderer needs is loaded when it is asked for.
"""

from __future__ import annotations

from snnconv.report.renderers import REPORTS, Renderer, check_reports, renderer_of, write_report

__all__ = ["REPORTS", "Renderer", "check_reports", "renderer_of", "write_report"]
