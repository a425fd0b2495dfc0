"""The templates of reports, and the words they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import snnconv
from snnconv.report import provenance, text, verdicts
from snnconv.results import is_output

if TYPE_CHECKING:
    from jinja2 import Environment

_FILTERS = (text.count, text.percent, text.rate, text.ulps, text.megabytes, text.printable)
_VERDICTS = (
    verdicts.check_state,
    verdicts.layer_state,
    verdicts.worst_error,
    verdicts.levels,
    verdicts.outcome,
    verdicts.worst_outcome,
    verdicts.headline,
    verdicts.summary,
    verdicts.sentence,
    verdicts.facts,
)
_PROVENANCE = (provenance.provenance, provenance.settings_line)


def environment(html: bool) -> Environment:
    """Jinja with the filters and functions of reports; everything is escaped if `html`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters.update({function.__name__: function for function in _FILTERS}, line=text.one_line)
    jinja.globals.update({function.__name__: function for function in (*_VERDICTS, *_PROVENANCE)})
    jinja.tests["output"] = is_output
    jinja.globals.update(PASSED=verdicts.PASSED, version=snnconv.__version__)
    return jinja
