"""A verification as plain values and back, without loss."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings

from snnconv.errors import InputError
from snnconv.report import from_plain, to_plain
from snnconv.results import Verification
from tests.report.examples import BAD
from tests.report.strategies import verifications


@given(verifications)
@settings(max_examples=60, deadline=None)
def test_there_and_back_loses_nothing(found: Verification) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(found)))) == found


@pytest.mark.parametrize("name", [field.name for field in fields(Verification)])
def test_every_field_is_asked_for(name: str) -> None:
    plain = to_plain(BAD)
    del plain[name]
    with pytest.raises(InputError, match=f"verification: {name} is missing; .*verify again"):
        from_plain(plain)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The plain form of an example with one value changed."""
    plain = to_plain(BAD)
    *steps, last = path.split("/")
    at: Any = plain
    for step in steps:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return plain


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("seconds", "1", "seconds: input should be a valid number"),
        ("seconds", float("nan"), "seconds: input should be a valid number"),
        ("shard", [1], "shard[1] is missing"),
        ("shard", [1, True], "shard[1]: input should be a valid integer"),
        ("layers/1/values", 1.5, "layers[1].values: input should be a valid integer"),
        ("layers/1/values", -1, "layers[1].values is negative"),
        ("layers/0/margins", [1, 2], "layers[0].margins has 2 bins, not 16"),
        ("probes/0/layers/1/extra", 1, "probes[0].layers[1].extra is unknown"),
        ("probes/0/nearest/first.neuron", "x", 'probes[0].nearest["first.neuron"]: input should be a valid number'),
        ("difference/candidate", ["0100110"], "difference.candidate has 1 steps"),
        ("difference/candidate/2", "001x101", "difference.candidate[2] is no row of 7 spikes"),
        ("difference/neuron", 9, "difference.neurons lacks the neuron that differs"),
        ("difference/step", 4, "difference.reference has 4 steps"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(path: str, value: object, said: str) -> None:
    with pytest.raises(InputError) as error:
        from_plain(changed(path, value), "journal.json")
    assert error.value.what == f"journal.json: {said}"


def test_a_field_of_an_inner_value_is_not_left_to_its_default() -> None:
    plain = to_plain(BAD)
    del plain["probes"][0]["layers"][1]["flips"]
    with pytest.raises(InputError, match=r"probes\[0\]\.layers\[1\]\.flips is missing"):
        from_plain(plain)
