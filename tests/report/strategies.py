"""Random verifications, of every shape that `snnconv.results` allows."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from snnconv.results import (
    MARGIN_BINS,
    Check,
    DataSummary,
    Difference,
    LayerTally,
    Probe,
    Task,
    Thresholds,
    Verification,
)

counts = st.integers(0, 10**18)
reals = st.floats(allow_nan=False, allow_infinity=False)
bins = st.just(()) | st.lists(counts, min_size=MARGIN_BINS, max_size=MARGIN_BINS).map(tuple)


def few(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


checks = st.builds(Check)
tallies = st.builds(
    LayerTally,
    st.text(),
    *[counts] * 5,
    worst=st.none() | reals,
    first=st.none() | st.tuples(counts, counts),
    spikes_reference=counts,
    spikes_candidate=counts,
    margins=bins,
    flips=bins,
)
probes = st.builds(Probe, st.text(), counts, few(tallies), st.dictionaries(st.text(), st.none() | reals, max_size=3))
tasks = st.builds(Task, counts, counts, st.none() | reals, *[counts] * 8)
thresholds = st.builds(Thresholds, st.text(), *[counts] * 4, low=st.none() | reals, high=st.none() | reals, counts=few(counts))


@st.composite
def differences(draw: st.DrawFn) -> Difference:
    neurons = tuple(draw(st.lists(counts, min_size=1, max_size=5, unique=True)))
    steps = draw(st.integers(1, 4))
    rows = st.text("01", min_size=len(neurons), max_size=len(neurons))
    reference, candidate = (tuple(draw(st.lists(rows, min_size=steps, max_size=steps))) for _ in range(2))
    step, neuron = draw(st.integers(0, steps - 1)), draw(st.sampled_from(neurons))
    return Difference(draw(counts), step, draw(st.text()), neuron, neurons, reference, candidate)


verifications = st.builds(
    Verification,
    *[st.text()] * 7,
    data=st.builds(DataSummary, st.text(), counts, st.text(), st.none() | counts, st.text()),
    levels=few(st.text()),
    reference=st.text(),
    settings=st.dictionaries(st.text(), st.text(), max_size=3),
    environment=st.dictionaries(st.text(), st.text(), max_size=3),
    shard=st.none() | st.tuples(counts, counts),
    checks=few(checks),
    layers=few(tallies),
    probes=few(probes),
    task=st.none() | tasks,
    difference=st.none() | differences(),
    thresholds=few(thresholds),
    notes=few(st.text()),
    seconds=reals,
    outputs=st.dictionaries(st.text(min_size=1), tasks, max_size=2),
)
