"""One HTML file that needs nothing but itself: verdict first, tables, figures, all checks, provenance."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from snnconv.report.figures.drawing import plotting
from snnconv.report.figures.margins import has_margins, margins_figure, peak_of
from snnconv.report.figures.raster import raster_figure
from snnconv.report.figures.rates import rates_figure
from snnconv.report.figures.thresholds import thresholds_figure
from snnconv.report.renderers import Renderer
from snnconv.report.templating import environment
from snnconv.report.text import one_line
from snnconv.results import Probe, Verification, is_output
from snnconv.results.document import Report

if TYPE_CHECKING:
    from markupsafe import Markup

_PANELS = 12
"""Panels and rows up to which a part of the report stands open."""


@dataclass(frozen=True)
class Figures:
    """The figures of one candidate as SVG; those of layers by position, empty if there is nothing to draw."""

    rates: str = ""
    margins: str = ""
    margins_of: list[tuple[str, str]] = field(default_factory=list)
    thresholds_of: list[str] = field(default_factory=list)
    raster: str = ""


def render_html(report: Report) -> str:
    """A report as a self-contained HTML page."""
    from markupsafe import Markup

    jinja = environment(html=True)
    jinja.filters.update(svg=Markup, name=_breakable)
    jinja.globals.update(probed_layers=_probed_layers)
    with plotting():
        figures = [_figures(verdict.verification) for verdict in report.verdicts]
    return jinja.get_template("report.html.jinja").render(
        report=report,
        entries=list(zip(report.verdicts, figures, strict=True)),
        style=Markup(Path(__file__).with_name("templates").joinpath("report.css").read_text(encoding="utf-8")),
        few=_PANELS,
    )


def _probed_layers(probes: Iterable[Probe]) -> list[str]:
    """The layers for which a probe says how near it came."""
    return list(dict.fromkeys(layer for probe in probes for layer in probe.nearest))


def _breakable(name: str) -> Markup:
    """A name that may be broken after its dots, slashes and underscores."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.findall(r"[^./_]*[./_]+|[^./_]+", one_line(name)))


def _figures(found: Verification) -> Figures:
    neurons = [tally for tally in found.layers if not is_output(tally.name)]
    drawn = [tally for tally in neurons if has_margins([tally])]
    peak = peak_of(drawn)
    whole = [tally for tally in neurons if tally.values]
    return Figures(
        rates=rates_figure(whole) if whole else "",
        margins=margins_figure("All layers", drawn, peak_of([sum(drawn[1:], drawn[0])]), large=True) if drawn else "",
        margins_of=[(tally.name, margins_figure(tally.name, [tally], peak)) for tally in drawn],
        thresholds_of=[thresholds_figure(thresholds) for thresholds in found.thresholds],
        raster=raster_figure(found.difference) if found.difference else "",
    )


RENDERER = Renderer(render_html, needs=("jinja2", "matplotlib"))
