"""How far potentials are from their threshold, and at which distance decisions flipped, counted in rounding bounds."""

from __future__ import annotations

from collections.abc import Iterable
from math import log10
from typing import TYPE_CHECKING

from snnconv.report.figures.drawing import CANDIDATE, FAULT, INK, LINE, MUTED, WASH, as_svg, blank, note, plain_axes
from snnconv.report.text import count
from snnconv.results import MARGIN_BINS, MARGIN_BINS_PER_DECADE, MARGIN_DECADES, LayerTally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL_SIZE, LARGE_SIZE = (190, 100), (400, 214)
_POWERS = {-2: "0.01", 0: "1", 2: "100", 4: "10⁴", 6: "10⁶"}
_ONE = 0.45
"""The height of a single count, so that it is seen; every decade above adds 1."""


def has_margins(tallies: Iterable[LayerTally]) -> bool:
    """Whether there is anything to draw."""
    return any(sum(tally.margins) or sum(tally.flips) for tally in tallies)


def peak_of(tallies: Iterable[LayerTally]) -> int:
    """The highest bin of all, for panels on one scale."""
    return max((bin for tally in tallies for bin in (*tally.margins, *tally.flips)), default=1)


def margins_figure(name: str, tallies: list[LayerTally], peak: int, large: bool = False) -> str:
    """Counts of potentials and of flips by |u - theta|, both axes logarithmic, the rounding bound as a line."""
    margins, flips = (_total(getattr(tally, kind) for tally in tallies) for kind in ("margins", "flips"))
    figure = blank(*(LARGE_SIZE if large else SMALL_SIZE))
    axes = plain_axes(figure, *((34, 20, 8, 40) if large else (28, 4, 8, 20)))
    edges = [MARGIN_DECADES[0] + bin / MARGIN_BINS_PER_DECADE for bin in range(MARGIN_BINS + 1)]
    within = -MARGIN_DECADES[0] * MARGIN_BINS_PER_DECADE
    top = _height(max(peak, 10)) + 0.2
    _grid(axes, top, peak)
    axes.stairs([_height(n) for n in margins], edges, fill=True, facecolor=WASH, edgecolor=MUTED, linewidth=0.8)
    for part, color in ((slice(0, within), CANDIDATE), (slice(within, None), FAULT)):
        for height, left in zip([_height(n) for n in flips][part], edges[part], strict=False):
            if height:
                axes.bar(left, height, 1 / MARGIN_BINS_PER_DECADE * 0.6, align="edge", color=color, linewidth=0)
    axes.plot([0, 0], [0, top], color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    for power, said in _POWERS.items():
        note(axes, said, (_across(power), 0), (0, -5), ha={-2: "left", 6: "right"}.get(power, "center"), va="top")
    if large:
        note(axes, "bound", (_across(0), 1), (0, 4), ha="center", va="bottom", color=INK)
        note(axes, "|u \N{MINUS SIGN} θ| in rounding bounds", (0.5, 0), (0, -22), ha="center", va="top")
    axes.set(xlim=MARGIN_DECADES, ylim=(0, top))
    beyond = sum(flips[within:])
    label = f"{name}: {count(sum(margins))} distances of potentials from their thresholds, {count(sum(margins[:within]))} within "
    return as_svg(figure, f"{label}the rounding bound; {count(sum(flips))} flips, {count(beyond)} of them beyond the bound")


def _total(histograms: Iterable[tuple[int, ...]]) -> list[int]:
    total = [0] * MARGIN_BINS
    for histogram in histograms:
        total = [a + b for a, b in zip(total, histogram, strict=True)] if histogram else total
    return total


def _across(power: float) -> float:
    return (power - MARGIN_DECADES[0]) / (MARGIN_DECADES[1] - MARGIN_DECADES[0])


def _height(counted: int) -> float:
    return log10(counted) + _ONE if counted else 0.0


def _grid(axes: Axes, top: float, peak: int) -> None:
    """Lines at 1, 1000, 10^6, ...; at every decade if there are few."""
    decades = int(log10(max(peak, 10)))
    for decade in range(0, decades + 1, 1 if decades < 3 else 3):
        axes.plot(MARGIN_DECADES, [decade + _ONE] * 2, color=LINE, linewidth=0.8, zorder=0)
        axes.text(MARGIN_DECADES[0] - 0.15, decade + _ONE, _short(decade), ha="right", va="center")
    axes.plot(MARGIN_DECADES, [0, 0], color=LINE, linewidth=1)


def _short(decade: int) -> str:
    return f"{10 ** (decade % 3)}{('', 'k', 'M', 'G', 'T')[min(decade // 3, 4)]}"
