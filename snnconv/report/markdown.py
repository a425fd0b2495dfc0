"""Markdown for a GitHub job summary: the verdict, one table per candidate, what failed; the rest folded away."""

from __future__ import annotations

import snnconv
from snnconv.report import wording
from snnconv.report.templating import environment
from snnconv.report.text import markdown, markdown_cell, markdown_code
from snnconv.results import OUTPUT
from snnconv.results.document import Report

_SHORT = 24
"""Layers up to which the table stands open."""


def render_markdown(report: Report) -> str:
    """A report as Markdown."""
    jinja = environment(html=False)
    jinja.filters.update(md=markdown, code=markdown_code, cell=markdown_cell)
    marks = {wording.EQUIVALENT: "✅", wording.INCOMPLETE: "⚠️", wording.FAULT: "❌"}
    text = jinja.get_template("report.md.jinja").render(
        report=report, version=snnconv.__version__, marks=marks, OUTPUT=OUTPUT, short=_SHORT
    )
    return text.rstrip() + "\n"
