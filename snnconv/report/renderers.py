"""Report files. A kind of report is one file with a `Renderer` in it and one line in `REPORTS`, under the suffix of its files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from snnconv.errors import BackendMissing, InputError
from snnconv.files import replacing, writable
from snnconv.registry import Registry
from snnconv.results.document import Report


@dataclass(frozen=True)
class Renderer:
    """What makes the text of a report, and the packages that it needs beyond those always installed.

    Another package adds one for files of its own under its suffix, in its pyproject.toml:

        [project.entry-points."snnconv.reports"]
        ".csv" = "my_package.csv_report:RENDERER"
    """

    render: Callable[[Report], str]
    needs: tuple[str, ...] = ()


REPORTS: Registry[Renderer] = Registry(
    "snnconv.reports",
    {
        ".json": "snnconv.report.json:RENDERER",
        ".xml": "snnconv.report.junit:RENDERER",
        ".md": "snnconv.report.markdown:RENDERER",
        ".html": "snnconv.report.html:RENDERER",
    },
)


def renderer_of(path: Path) -> Renderer:
    """The renderer for the suffix of a report file. Raises `InputError` for an unknown suffix, `BackendMissing` if a package is
    missing."""
    if path.suffix not in REPORTS:
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"a report is one of {', '.join(REPORTS.names())}")
    renderer = REPORTS[path.suffix]
    missing = [name for name in renderer.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissing(f"{path}: a {path.suffix} report needs {' and '.join(missing)}", "pip install snnconv[report]")
    return renderer


def check_reports(paths: Iterable[Path]) -> None:
    """Raise, before any work is done, what `write_report` would raise for one of these."""
    for path in paths:
        renderer_of(path)
        writable(path, force=True)


def write_report(path: Path, report: Report) -> None:
    """Write a report to `path`, whole or not at all. Raises as `renderer_of`, and `InputError` if it cannot be written."""
    text = renderer_of(path).render(report)
    with replacing(path) as draft:
        draft.write(text.encode())
