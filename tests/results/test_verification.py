"""Tallies over disjoint samples add up to what one run over all of them would have found."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import reduce
from itertools import pairwise
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnconv.results import MARGIN_BINS, LayerTally, Probe, Task

COUNTS = st.integers(0, 10**12)
ERRORS = st.none() | st.floats(0, 1e30)
BINS = st.just(()) | st.lists(COUNTS, min_size=MARGIN_BINS, max_size=MARGIN_BINS).map(tuple)

TALLIES = st.builds(
    LayerTally,
    st.just("act"),
    *[COUNTS] * 5,
    worst=ERRORS,
    first=st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 64)),
    spikes_reference=COUNTS,
    spikes_candidate=COUNTS,
    margins=BINS,
    flips=BINS,
)
TASKS = st.builds(Task, COUNTS, COUNTS, ERRORS, *[COUNTS] * 6)


@given(TALLIES, TALLIES, TALLIES)
def test_adding_layers_is_associative_and_asks_for_no_order(a: LayerTally, b: LayerTally, c: LayerTally) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a


@given(TASKS, TASKS, TASKS)
def test_adding_tasks_is_associative_and_asks_for_no_order(a: Task, b: Task, c: Task) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a


@given(TALLIES)
def test_a_layer_of_no_samples_adds_nothing(tally: LayerTally) -> None:
    assert LayerTally("act") + tally == tally == tally + LayerTally("act")


@given(TASKS)
def test_a_task_of_no_samples_adds_nothing(task: Task) -> None:
    assert Task(0, 0, 0.0) + task == task == task + Task(0, 0, 0.0)


def cut(whole: list, places: list[int]) -> list[list]:
    """A list in pieces, some perhaps empty."""
    borders = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    return [whole[a:b] for a, b in pairwise(borders)]


@given(st.lists(TALLIES, min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_layers_split_in_any_way_lose_nothing(tallies: list[LayerTally], places: list[int]) -> None:
    pieces = [reduce(add, piece, LayerTally("act")) for piece in cut(tallies, places)]
    found = reduce(add, pieces)
    for name in ("values", "explained", "unexplained", "outside", "inconsistent", "spikes_reference", "spikes_candidate"):
        assert getattr(found, name) == sum(getattr(tally, name) for tally in tallies), name
    worst = [tally.worst for tally in tallies]
    assert found.worst == (None if None in worst else max(w for w in worst if w is not None))
    assert found.first == min((tally.first for tally in tallies if tally.first is not None), default=None)
    for name in ("margins", "flips"):
        measured = [getattr(tally, name) for tally in tallies if getattr(tally, name)]
        assert getattr(found, name) == tuple(map(sum, zip(*measured, strict=True))), name


@given(st.lists(TASKS, min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_tasks_split_in_any_way_lose_nothing(tasks: list[Task], places: list[int]) -> None:
    found = reduce(add, [reduce(add, piece, Task(0, 0, 0.0)) for piece in cut(tasks, places)])
    for name in {field.name for field in fields(Task)} - {"logit_error"}:
        assert getattr(found, name) == sum(getattr(task, name) for task in tasks), name
    errors = [task.logit_error for task in tasks]
    assert found.logit_error == (None if None in errors else max(e for e in errors if e is not None))


def test_what_is_not_a_number_once_is_not_a_number_in_all() -> None:
    assert (LayerTally("act", worst=None) + LayerTally("act", worst=0.5)).worst is None
    assert (Task(1, 1, 0.5) + Task(1, 1, None)).logit_error is None


def test_the_first_fault_is_of_the_earliest_sample_and_then_of_the_earliest_step() -> None:
    late, early, earlier = (LayerTally("act", first=first) for first in ((7, 0), (3, 2), (3, 1)))
    assert (late + early + earlier).first == (3, 1)


def test_histograms_of_other_bins_are_never_added_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        LayerTally("act", margins=(1, 2)) + LayerTally("act", margins=(1, 2, 3))


@pytest.mark.parametrize("fault", ["unexplained", "outside", "inconsistent"])
def test_any_fault_makes_a_layer_unsound_and_rounding_does_not(fault: str) -> None:
    assert LayerTally("act", 100, explained=7, worst=0.9).sound
    assert not replace(LayerTally("act", 100), **{fault: 1}).sound


def test_rates_are_spikes_per_neuron_and_step() -> None:
    tally = LayerTally("act", 200, spikes_reference=50, spikes_candidate=30)
    assert (tally.rate_reference, tally.rate_candidate) == (0.25, 0.15)
    assert LayerTally("act").rate_reference == LayerTally("act").rate_candidate == 0


def test_accuracy_is_known_only_with_labels() -> None:
    assert Task(10, 9, 0.0).accuracy_reference is None
    assert Task(10, 9, 0.0).accuracy_candidate is None
    labelled = Task(10, 9, 0.0, labelled=8, right_reference=6, right_candidate=4)
    assert (labelled.agreement, labelled.accuracy_reference, labelled.accuracy_candidate) == (0.9, 0.75, 0.5)


def test_nobody_agrees_on_no_samples() -> None:
    assert Task(0, 0, 0.0).agreement == 0


def test_a_probe_counts_all_its_layers_and_names_the_closest() -> None:
    layers = (LayerTally("a", 10, 1, worst=0.5, margins=(1,) * MARGIN_BINS), LayerTally("b", 20, unexplained=2, first=(3, 1)))
    probe = Probe("tie", 4, layers, {"a": 2.5, "b": 0.0, "c": None})
    assert probe.total == LayerTally("", 30, 1, 2, worst=0.5, first=(3, 1))
    assert probe.closest == (0.0, "b")


def test_a_probe_without_finite_thresholds_or_layers_is_close_to_none() -> None:
    assert Probe("tie", 4, (), {}).closest is None and Probe("tie", 4, (), {"a": None}).closest is None
    assert Probe("tie", 4, (), {}).total == LayerTally("")
