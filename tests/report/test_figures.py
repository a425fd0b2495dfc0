"""Figures show what was counted, where it belongs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from snnconv.report.figures.drawing import plotting
from snnconv.report.figures.margins import margins_figure
from snnconv.report.figures.raster import raster_figure
from snnconv.report.figures.rates import rates_figure
from snnconv.report.figures.thresholds import thresholds_figure
from snnconv.results import MARGIN_BINS, Difference, LayerTally, Thresholds
from tests.report.examples import DIFFERENCE, LAYERS, THRESHOLDS


def drawn(figure: Callable[..., str], *args: object) -> str:
    with plotting():
        return figure(*args)


def paths(svg: str, role: str) -> list[list[tuple[float, float]]]:
    """The corners of everything filled or drawn in a colour."""
    found = re.findall(rf'<path d="([^"]*)" style="[^"]*(?:fill|stroke): var\(--{role}\)[^"]*"', svg)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)] for path in found]


def one_hot(bin: int, count: int = 9) -> tuple[int, ...]:
    return tuple(count if n == bin else 0 for n in range(MARGIN_BINS))


@pytest.mark.parametrize(("bin", "role"), [(0, "candidate"), (3, "candidate"), (4, "fault"), (15, "fault")])
def test_a_flip_is_a_fault_right_of_the_bound_only(bin: int, role: str) -> None:
    svg = drawn(margins_figure, "a", [LayerTally("a", margins=one_hot(9), flips=one_hot(bin))], 9)
    (bound,) = paths(svg, "ink")
    (bar,) = paths(svg, role)
    assert not paths(svg, {"candidate": "fault", "fault": "candidate"}[role])
    middle = sum(x for x, _ in bar) / len(bar)
    assert (middle > bound[0][0]) == (role == "fault")


def test_margins_of_layers_add_up_and_are_described() -> None:
    tallies = [LayerTally("a", margins=one_hot(2, 5), flips=one_hot(1, 2)), LayerTally("b", margins=one_hot(9, 7))]
    svg = drawn(margins_figure, "All", tallies, 7)
    assert 'aria-label="All: 12 distances of potentials from their thresholds, 5 within the rounding bound; 2 flips, 0 ' in svg


def test_counts_are_drawn_on_a_logarithmic_axis() -> None:
    def height(count: int) -> float:
        (path,) = paths(drawn(margins_figure, "a", [LayerTally("a", margins=one_hot(9, count))], 10**6), "wash")
        return max(y for _, y in path) - min(y for _, y in path)

    assert height(10**6) - height(10**4) == pytest.approx(height(10**4) - height(10**2), abs=0.1)
    assert height(1) > 0


def test_rates_are_as_long_as_they_are_high() -> None:
    layers = [
        LayerTally("a", 1000, spikes_reference=500, spikes_candidate=250),
        LayerTally("b", 1000, spikes_reference=0, spikes_candidate=500),
    ]
    svg = drawn(rates_figure, layers)

    def lengths(role: str) -> list[float]:
        return [max(x for x, _ in path) - min(x for x, _ in path) for path in paths(svg, role)]

    assert lengths("source") == pytest.approx([2 * length for length in (lengths("candidate")[0], 0)], abs=0.05)
    assert lengths("candidate")[1] == pytest.approx(lengths("source")[0], abs=0.05)
    assert "0.500 → 0.250" in svg and "0.000 → 0.500" in svg


def test_long_names_are_shown_in_full_above_their_bars() -> None:
    name = "features.block.3.the_neuron_after_the_sum"
    assert name in drawn(rates_figure, [replace(LAYERS[0], name=name), LAYERS[1]])


def test_thresholds_that_are_all_alike_are_one_bar() -> None:
    svg = drawn(thresholds_figure, THRESHOLDS[1])
    assert "Histogram of 32 finite thresholds of last.neuron, all 0.5" in svg
    assert ">0.5</text>" in svg


def test_without_a_finite_threshold_there_is_no_figure() -> None:
    assert drawn(thresholds_figure, Thresholds("a", 3, 0, 1, 2, None, None, ())) == ""


def test_the_raster_draws_every_spike_and_rings_the_difference() -> None:
    svg = drawn(raster_figure, DIFFERENCE)
    for role, spikes in (("source", DIFFERENCE.reference), ("candidate", DIFFERENCE.candidate)):
        (path,) = re.findall(rf'<path d="([^"]*)" style="fill: var\(--{role}\)"', svg)
        assert path.count("M ") == "".join(spikes).count("1")
    rings = re.findall(r'<path d="([^"]*)" style="fill: none; stroke: var\(--fault\); stroke-width: 2.4[^"]*"', svg)
    thin = re.findall(r'<path d="([^"]*)" style="fill: none; stroke: var\(--fault\); stroke-width: 1.1[^"]*"', svg)
    assert [path.count("M ") for path in rings] == [1, 1]
    assert [path.count("M ") for path in thin] == [2, 2]
    assert ">311</text>" in svg


def test_a_large_raster_is_cut_around_the_difference() -> None:
    rows = ("01" * 500,) * 300
    other = (*rows[:200], "11" * 500, *rows[201:])
    svg = drawn(raster_figure, Difference(0, 200, "a", 600, tuple(range(1000)), rows, other))
    assert "Spikes of 40 neurons of a over 48 steps" in svg
    assert ">600</text>" in svg and ">200</text>" in svg
    assert len(svg) < 300_000
