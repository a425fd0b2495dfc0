"""What types do not say of a verification: no count is negative, histograms have their bins, rasters are rectangles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from snnconv.results.verification import MARGIN_BINS, Difference, LayerTally, Verification

JsonPath = tuple[int | str, ...]
Flaw = tuple[JsonPath, str]


def first_flaw(found: Verification, at: JsonPath = ()) -> str:
    """The first thing that makes no sense in a verification, by its path and in words; empty if all does.

    `at` is the path of the verification in its document.
    """
    return next((f"{json_path((*at, *where))} {flaw}" for where, flaw in _flaws(found)), "")


def _flaws(found: Verification) -> Iterator[Flaw]:
    yield from ((at, "is negative") for at, value in _integers(asdict(found)) if value < 0)
    yield from ((("checks", i), "passed, and is open") for i, check in enumerate(found.checks) if check.passed and check.open)
    for number, tally in enumerate(found.layers):
        yield from _tally_flaws(("layers", number), tally)
    for kind, probe in enumerate(found.probes):
        for number, tally in enumerate(probe.layers):
            yield from _tally_flaws(("probes", kind, "layers", number), tally)
    if found.difference is not None:
        yield from _difference_flaws(found.difference)


def _tally_flaws(at: JsonPath, tally: LayerTally) -> Iterator[Flaw]:
    for name in ("margins", "flips"):
        bins = len(getattr(tally, name))
        if bins not in (0, MARGIN_BINS):
            yield (*at, name), f"has {bins} bins, not {MARGIN_BINS}"


def _difference_flaws(difference: Difference) -> Iterator[Flaw]:
    width, steps = len(difference.neurons), len(difference.reference)
    if difference.neuron not in difference.neurons:
        yield ("difference", "neurons"), "lacks the neuron that differs"
    for name in ("reference", "candidate"):
        rows = getattr(difference, name)
        if len(rows) != steps or difference.step >= len(rows):
            yield ("difference", name), f"has {len(rows)} steps"
        for number, row in enumerate(rows):
            if len(row) != width or set(row) - {"0", "1"}:
                yield ("difference", name, number), f"is no row of {width} spikes"


def _integers(value: Any, at: JsonPath = ()) -> Iterator[tuple[JsonPath, int]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _integers(entry, (*at, key))
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _integers(entry, (*at, number))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield at, value


def json_path(steps: tuple[int | str, ...]) -> str:
    """`results[0].layers[2].values`; a name that is no plain word is quoted."""
    path = ""
    for step in steps:
        if isinstance(step, str) and step.isidentifier():
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step)}]"
    return path
