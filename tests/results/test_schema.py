"""The published JSON Schema is what the types say, and every document follows it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from snnconv.results import Conversion, Measure, NormStatistics, Site, Verification
from snnconv.results.document import conversion_document, fold_document, verification_document
from snnconv.results.schema import generated_schema, published_schema
from snnconv.results.verdict import judge
from tests.report.examples import GOOD, bad, good, partial
from tests.report.strategies import verifications

SITE = Site("bn", "BatchNorm2d", "conv", "rounding", "into weight", NormStatistics(8, (-1, 1), (0, 0), (0, 4), 1, 0, 2))
CONVERSION = Conversion("net.pth", "arch", (SITE,), (good(), bad()), (Measure("source", 10, 2.5),))


def valid(document: Any) -> bool:
    return Draft202012Validator(published_schema()).is_valid(json.loads(json.dumps(document, allow_nan=False)))


def test_the_published_schema_is_what_the_types_say() -> None:
    again = 'python -c "from snnconv.results.schema import publish; publish()"'
    assert published_schema() == generated_schema(), f"run {again}"


def test_the_schema_is_sound_and_names_itself() -> None:
    Draft202012Validator.check_schema(published_schema())
    assert published_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert published_schema()["$id"] == "urn:snnconv:report:4"
    assert published_schema()["title"] and published_schema()["description"]
    assert all("description" in entry for entry in published_schema()["$defs"].values())


@pytest.mark.parametrize(
    "document",
    [
        verification_document([]),
        verification_document([good(), bad(), partial()]),
        verification_document([judge(replace(GOOD, layers=(replace(GOOD.layers[0], worst=nan),), task=None))]),
        conversion_document(CONVERSION),
        fold_document("net.pth", "net.pt2", "arch", [SITE], "the user's code, arch", {"timesteps": "4 (default)"}),
    ],
)
def test_every_document_is_valid(document: dict[str, Any]) -> None:
    assert valid(document)


@given(verifications)
@settings(max_examples=20, deadline=None)
def test_any_verification_is_valid(found: Verification) -> None:
    assert valid(verification_document([judge(found)]))


def test_a_document_with_a_field_missing_unknown_or_wrong_is_not_valid() -> None:
    document = verification_document([good()])
    (result,) = document["results"]
    without = {key: value for key, value in result.items() if key != "layers"}
    for wrong in (without, {**result, "more": 1}, {**result, "seconds": "1"}, {**result, "shard": [-1, 2]}):
        assert not valid({**document, "results": [wrong]})
    assert not valid({**document, "schema": 1})
    assert not valid({**document, "command": "fold"})
