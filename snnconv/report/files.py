"""Report files by suffix. A format is one function and one line in `REPORTS`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snnconv.errors import BackendMissing, InputError
from snnconv.files import replacing
from snnconv.report.html import render_html
from snnconv.report.json import render_json
from snnconv.report.junit import render_junit
from snnconv.report.markdown import render_markdown
from snnconv.results.document import Report


@dataclass(frozen=True)
class Format:
    """A kind of report: what renders it as text, and the packages it needs beyond those always installed."""

    render: Callable[[Report], str]
    needs: tuple[str, ...] = ()


def writer_of(path: Path) -> Format:
    """The format of a report's suffix. Raises `InputError` for an unknown one, `BackendMissing` where a package is missing."""
    if path.suffix not in REPORTS:
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"a report is one of {', '.join(REPORTS)}")
    format = REPORTS[path.suffix]
    missing = [name for name in format.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissing(f"{path}: a {path.suffix} report needs {' and '.join(missing)}", "pip install snnconv[report]")
    return format


def write_report(path: Path, report: Report) -> None:
    """Write a report to `path`, whole or not at all. Raises as `writer_of`, and `InputError` where it cannot be written."""
    text = writer_of(path).render(report)
    with replacing(path) as draft:
        draft.write(text.encode())


REPORTS: dict[str, Format] = {
    ".json": Format(render_json),
    ".xml": Format(render_junit),
    ".md": Format(render_markdown, ("jinja2",)),
    ".html": Format(render_html, ("jinja2", "matplotlib")),
}
