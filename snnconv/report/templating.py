"""The templates of reports, and the words they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snnconv.report import wording
from snnconv.report.text import one_line, printable

if TYPE_CHECKING:
    from jinja2 import Environment

_FILTERS = ("count", "percent", "of_bound", "rate", "number", "ulps", "megabytes")
_FUNCTIONS = ("state", "worst_state", "overall", "summary", "sentence", "levels", "facts", "provenance", "settings_line")
_PROBES = ("probe_totals", "probed_layers")


def environment(html: bool) -> Environment:
    """Jinja with the filters and functions of reports; everything is escaped where `html`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters.update({name: getattr(wording, name) for name in _FILTERS}, printable=printable, line=one_line)
    jinja.globals.update({name: getattr(wording, name) for name in (*_FUNCTIONS, *_PROBES)})
    return jinja
