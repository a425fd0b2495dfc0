"""The spikes around the first difference, of both sides, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from snnconv.report.figures.drawing import CANDIDATE, FAULT, INK, LINE, SOURCE, as_svg, blank, note, plain_axes
from snnconv.results import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

MOST_STEPS, MOST_NEURONS = 48, 40
_LEFT, _GAP, _TOP, _BOTTOM, _RIGHT = 54, 22, 22, 34, 8
_WIDEST = 158

Cell = tuple[int, int]
"""A step and the row of a neuron."""


def raster_figure(difference: Difference) -> str:
    """One row per neuron, one column per time step; the first differing cell is ringed, others thinly."""
    steps = _window(difference.step, len(difference.reference), MOST_STEPS)
    rows = _window(_row(difference), len(difference.neurons), MOST_NEURONS)
    column = min(_WIDEST / len(steps), 22.0)
    width, height = column * len(steps), min(max(column, 7.0), 12.0) * len(rows)
    figure = blank(_LEFT + 2 * width + _GAP + _RIGHT, _TOP + height + _BOTTOM)
    sides = (("source", difference.reference, SOURCE), ("candidate", difference.candidate, CANDIDATE))
    for number, (name, spikes, color) in enumerate(sides):
        left = _LEFT + number * (width + _GAP)
        axes = plain_axes(figure, left, _TOP, _RIGHT + (1 - number) * (width + _GAP), _BOTTOM)
        axes.set(xlim=(steps.start - 0.5, steps.stop - 0.5), ylim=(rows.stop - 0.5, rows.start - 0.5))
        _cells(axes, spikes, steps, rows, color)
        _differences(axes, difference, steps, rows)
        note(axes, name, (0, 1), (0, 6), ha="left", color=INK)
        _name_steps(axes, difference.step, steps)
        if number == 0:
            _name_rows(axes, difference, rows)
    label = f"Spikes of {len(rows)} neurons of {difference.layer} over {len(steps)} steps, source and candidate; neuron "
    return as_svg(figure, f"{label}{difference.neuron} differs at step {difference.step} of sample {difference.sample}")


def _row(difference: Difference) -> int:
    return difference.neurons.index(difference.neuron)


def _window(center: int, length: int, most: int) -> range:
    """At most `most` indices around `center`."""
    start = max(0, min(center - most // 2, length - most))
    return range(start, min(length, start + most))


def _cells(axes: Axes, spikes: tuple[str, ...], steps: range, rows: range, color: str) -> None:
    from matplotlib.patches import PathPatch

    fired = [(step, row) for step in steps for row in rows if spikes[step][row] == "1"]
    axes.add_patch(PathPatch(_grid(steps, rows), fill=False, edgecolor=LINE, linewidth=0.6, clip_on=False))
    if fired:
        axes.add_patch(PathPatch(_squares(fired, 0.38), facecolor=color, linewidth=0))


def _differences(axes: Axes, difference: Difference, steps: range, rows: range) -> None:
    from matplotlib.patches import PathPatch

    first = (difference.step, _row(difference))
    pairs = ((step, row) for step in steps for row in rows)
    unlike = [(s, r) for s, r in pairs if difference.reference[s][r] != difference.candidate[s][r] and (s, r) != first]
    if unlike:
        framed = PathPatch(_squares(unlike, 0.5), fill=False, edgecolor=FAULT, linewidth=1.1)
        axes.add_patch(framed).set(clip_on=False, zorder=3)
    axes.add_patch(PathPatch(_squares([first], 0.56), fill=False, edgecolor=FAULT, linewidth=2.4)).set(clip_on=False, zorder=4)


def _grid(steps: range, rows: range) -> Path:
    """The lines between cells, as one path."""
    from matplotlib.path import Path

    left, right, top, bottom = steps.start - 0.5, steps.stop - 0.5, rows.start - 0.5, rows.stop - 0.5
    across = [point for row in range(rows.start, rows.stop + 1) for point in ((left, row - 0.5), (right, row - 0.5))]
    down = [point for step in range(steps.start, steps.stop + 1) for point in ((step - 0.5, top), (step - 0.5, bottom))]
    return Path(across + down, [Path.MOVETO, Path.LINETO] * ((len(across) + len(down)) // 2))


def _squares(cells: Iterable[Cell], half: float) -> Path:
    """Squares around cells, as one path."""
    from matplotlib.path import Path

    corners = ((-half, -half), (half, -half), (half, half), (-half, half), (-half, -half))
    points = [(step + x, row + y) for step, row in cells for x, y in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(points) // len(corners))
    return Path(points, codes)


def _name_steps(axes: Axes, differing: int, steps: range) -> None:
    """The differing step, and the outer ones if there is room."""
    apart = max(1, len(steps) // 6)
    for step in sorted({steps.start, differing, steps.stop - 1}):
        if step == differing or abs(step - differing) >= apart:
            at = (step - steps.start + 0.5) / len(steps)
            note(axes, str(step), (at, 0), (0, -6), ha="center", va="top", **_emphasis(step == differing))
    note(axes, "step", (0.5, 0), (0, -20), ha="center", va="top")


def _name_rows(axes: Axes, difference: Difference, rows: range) -> None:
    """The neuron that differs, and the outer ones if there is room."""
    for row in sorted({rows.start, _row(difference), rows.stop - 1}):
        differs = row == _row(difference)
        if differs or abs(row - _row(difference)) > 1:
            at = 1 - (row - rows.start + 0.5) / len(rows)
            note(axes, str(difference.neurons[row]), (0, at), (-8, 0), ha="right", va="center_baseline", **_emphasis(differs))


def _emphasis(wanted: bool) -> dict[str, Any]:
    return {"color": FAULT, "weight": "bold"} if wanted else {}
