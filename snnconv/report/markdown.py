"""Markdown for a GitHub job summary: the verdict, one table per candidate, what failed; the rest folded away."""

from __future__ import annotations

import re

from snnconv.report.renderers import Renderer
from snnconv.report.templating import environment
from snnconv.report.text import one_line
from snnconv.results.document import Report

_SHORT = 24
"""Layers up to which the table stands open."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@$])")
_LINE_START = re.compile(r"^([-+]|\d+(?=[.)]))")


def render_markdown(report: Report) -> str:
    """A report as Markdown."""
    jinja = environment(html=False)
    jinja.filters.update(md=markdown, code=markdown_code, cell=markdown_cell)
    return jinja.get_template("report.md.jinja").render(report=report, short=_SHORT).rstrip() + "\n"


def markdown(text: str) -> str:
    """`text` as literal GitHub Markdown on one line, also in a table: no emphasis, link, mention, HTML or cell border."""
    escaped = _SPECIAL.sub(r"\\\1", one_line(text)).replace("://", ":\\//").replace("www.", "www\\.")
    return _LINE_START.sub(_unlisted, escaped)


def _unlisted(match: re.Match[str]) -> str:
    start = match[1]
    return f"\\{start}" if start in "-+" else f"{start}\\"


def markdown_code(text: str) -> str:
    """`text` as a code span for a table cell or a line without other pipes."""
    plain = one_line(text) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    padding = " " if plain.startswith("`") or plain.endswith("`") or len(fence) > 1 else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def markdown_cell(text: str) -> str:
    """`text` as a code span in a table cell: a pipe must be escaped there even in code."""
    return markdown_code(text).replace("|", "\\|")


RENDERER = Renderer(render_markdown, needs=("jinja2",))
