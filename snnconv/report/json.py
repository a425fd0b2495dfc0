"""The JSON document of a report, as text."""

from __future__ import annotations

import json

from snnconv.report.renderers import Renderer
from snnconv.results.document import Report, document_of


def render_json(report: Report) -> str:
    """A report as JSON text."""
    return json.dumps(document_of(report), indent=2, allow_nan=False) + "\n"


RENDERER = Renderer(render_json)
