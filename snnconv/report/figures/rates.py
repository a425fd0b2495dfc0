"""Spike rates of every layer, source above candidate."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from snnconv.report.figures.drawing import CANDIDATE, INK, LINE, PAPER, SOURCE, as_svg, blank, note, plain_axes
from snnconv.report.text import rate, shortened
from snnconv.results import LayerTally

WIDTH, VALUES = 400, 84
_BESIDE = 18
"""The longest name that still stands beside its bars; with a longer one, all names stand above theirs."""
_LONGEST = 62
_LETTER = 6.6
_BAR, _GAP = 7, 2
_FEW = 24


@dataclass(frozen=True)
class _Rows:
    """Where names and bars are, in pixels: the width of the names, the height of a row, the middle of the bars below its top."""

    names: float
    height: float
    middle: float


def rates_figure(layers: list[LayerTally]) -> str:
    """Two bars per layer: hollow for the source, solid for the candidate."""
    rows = _rows(layers)
    figure = blank(WIDTH, rows.height * len(layers) + (30 if rows.names else 4))
    axes = plain_axes(figure, rows.names, 4, VALUES, 26 if rows.names else 0)
    end = _end(max((r for t in layers for r in (t.rate_reference, t.rate_candidate)), default=0))
    height = rows.height * len(layers)
    axes.set(xlim=(0, end), ylim=(height, 0))
    middles = [number * rows.height + rows.middle for number in range(len(layers))]
    for share in (0, 0.5, 1) if rows.names else ():
        axes.plot([share * end] * 2, [0, height], color=LINE, linewidth=1, zorder=0, clip_on=False)
        note(axes, f"{share * end:g}", (share, 0), (0, -6), ha="center", va="top")
    shift = (_BAR + _GAP) / 2
    before, after = [t.rate_reference for t in layers], [t.rate_candidate for t in layers]
    axes.barh([y - shift for y in middles], before, _BAR - 1, facecolor=PAPER, edgecolor=SOURCE, linewidth=1)
    axes.barh([y + shift for y in middles], after, _BAR, color=CANDIDATE, linewidth=0)
    for tally, y in zip(layers, middles, strict=True):
        longest = max(tally.rate_reference, tally.rate_candidate) / end
        note(axes, _said(tally), (longest, 1 - y / height), (8, 0), ha="left", va="center_baseline")
        above = 0 if rows.names else _BAR + _GAP + 7
        name = shortened(tally.name, _LONGEST)
        note(axes, name, (0, 1 - y / height), (-rows.names, above), ha="left", va="center_baseline", color=INK)
    return as_svg(
        figure, f"Mean spikes per neuron and step of {len(layers)} layers, source and candidate; the table has the values"
    )


def _rows(layers: list[LayerTally]) -> _Rows:
    longest = max(len(tally.name) for tally in layers)
    if longest > _BESIDE:
        return _Rows(0, 40, 26)
    high = 28 if len(layers) <= _FEW else 21
    return _Rows(longest * _LETTER + 14, high, high / 2)


def _end(highest: float) -> float:
    """The end of the axis: 0.1, 0.2, ..., 1."""
    return max(ceil(highest * 10 - 1e-9), 1) / 10


def _said(tally: LayerTally) -> str:
    before, after = rate(tally.rate_reference), rate(tally.rate_candidate)
    return before if before == after else f"{before} → {after}"
