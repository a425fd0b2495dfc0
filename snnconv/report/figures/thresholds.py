"""How the folded thresholds of a layer are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnconv.report.figures.drawing import CANDIDATE, LINE, as_svg, blank, note, plain_axes
from snnconv.report.text import count, number
from snnconv.results import Thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 190, 92


def thresholds_figure(thresholds: Thresholds) -> str:
    """A histogram of the finite thresholds; empty if there is none."""
    low, high, counts = thresholds.low, thresholds.high, thresholds.counts
    if low is None or high is None or not sum(counts):
        return ""
    figure = blank(WIDTH, HEIGHT)
    axes = plain_axes(figure, 1, 18, 1, 20)
    if low == high:
        counts, edges = (0, sum(counts), 0), [0, 0.48, 0.52, 1]
    else:
        edges = [bin / len(counts) for bin in range(len(counts) + 1)]
    peak = max(counts)
    axes.stairs(counts, edges, fill=True, color=CANDIDATE, linewidth=0)
    axes.plot([0, 1], [0, 0], color=LINE, linewidth=1, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, peak))
    note(axes, f"peak {count(peak)}", (1, 1), (0, 3), ha="right", va="bottom")
    _label_ends(axes, low, high)
    return as_svg(figure, f"Histogram of {count(sum(counts))} finite thresholds of {thresholds.layer}, {_range(low, high)}")


def _range(low: float, high: float) -> str:
    return f"all {number(low)}" if low == high else f"from {number(low)} to {number(high)}"


def _room(label: str) -> float:
    """The share of the width that a label at an end takes, a zero beside it included."""
    return (len(label) * 6.5 + 8) / WIDTH


def _label_ends(axes: Axes, low: float, high: float) -> None:
    if low == high:
        note(axes, number(low), (0.5, 0), (0, -4), ha="center", va="top")
        return
    note(axes, number(low), (0, 0), (0, -4), ha="left", va="top")
    note(axes, number(high), (1, 0), (0, -4), ha="right", va="top")
    zero = -low / (high - low)
    if 0 < zero < 1:
        axes.plot([zero, zero], [0, 1], transform=axes.transAxes, color=LINE, linewidth=1, zorder=0)
        if _room(number(low)) < zero < 1 - _room(number(high)):
            note(axes, "0", (zero, 0), (0, -4), ha="center", va="top")
