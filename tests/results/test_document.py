"""What a report is made of; its JSON document holds all that was found, and nothing that JSON does not have."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from math import inf, nan

import pytest

import snnconv
from snnconv.report.json import render_json
from snnconv.results import Conversion, Measure, NormStatistics, Site, Verification
from snnconv.results.document import (
    Report,
    conversion_document,
    conversion_report,
    fold_document,
    verification_document,
    verification_report,
)
from snnconv.results.schema import OPTIONAL
from snnconv.results.verdict import Policy, judge
from tests.report.examples import BAD, GOOD, bad, good

STATISTICS = NormStatistics(8, (-0.5, 1.25), (-1.0, 1.0), (0.0, 4.0), 1, 0, 2)
SITE = Site("bn", "BatchNorm2d", "conv", "rounding", "into weight", STATISTICS)


def test_a_verification_holds_every_field_flat_and_its_verdict() -> None:
    document = verification_document([good(), bad()])
    head = {key: document[key] for key in ("schema", "snnconv", "command", "equivalent")}
    assert head == {"schema": 4, "snnconv": snnconv.__version__, "command": "verify", "equivalent": False}
    assert document["policy"] == {
        **{"agreement": 0.99, "explained_flips": 1e-6, "accuracy_drop": None, "logit_error": None},
        "explained_decisions": 0.25,
    }
    first, second = document["results"]
    assert set(first) == {field.name for field in fields(Verification)} - set(OPTIONAL) | {"verdict"}
    assert (first["verdict"]["equivalent"], first["verdict"]["complete"], first["verdict"]["word"]) == (True, True, "EQUIVALENT")
    assert (second["verdict"]["equivalent"], second["verdict"]["complete"]) == (False, False)
    assert len(second["verdict"]["checks"]) == len(bad().checks)
    assert second["layers"][1]["unexplained"] == 4


def test_a_conversion_adds_its_norms_and_measures() -> None:
    document = conversion_document(Conversion("net.pth", "arch", (SITE,), (good(),), (Measure("source", 10, 2.5),)))
    assert document["command"] == "convert"
    assert (document["source"], document["arch"]) == ("net.pth", "arch")
    assert document["sites"][0]["outcome"] == "rounding"
    assert document["measures"] == [{"name": "source", "size": 10, "latency": 2.5, "batch": 1}]
    assert document["results"] == verification_document([good()])["results"]


def test_a_fold_lists_its_norms() -> None:
    document = fold_document("net.pth", "net.pt2", "arch", [SITE], "the user's code, arch", {"timesteps": "4 (default)"})
    assert document == {
        "schema": 4,
        "snnconv": snnconv.__version__,
        "command": "fold",
        "source": "net.pth",
        "output": "net.pt2",
        "arch": "arch",
        "reference": "the user's code, arch",
        "settings": {"timesteps": "4 (default)"},
        "sites": [
            {
                **{"path": "bn", "kind": "BatchNorm2d", "into": "conv", "outcome": "rounding", "detail": "into weight"},
                "statistics": json.loads(json.dumps(asdict(STATISTICS))),
            }
        ],
    }


def test_no_number_is_null() -> None:
    assert GOOD.task is not None
    layers = (replace(GOOD.layers[0], worst=nan), replace(GOOD.layers[1], worst=-inf))
    verdict = judge(replace(GOOD, layers=layers, task=replace(GOOD.task, logit_error=inf)))
    (found,) = json.loads(render_json(verification_report([verdict])), parse_constant=lambda name: 1 / 0)["results"]
    assert [layer["worst"] for layer in found["layers"]] == [None, None]
    assert found["task"]["logit_error"] is None


def test_a_name_that_no_encoding_has_is_escaped() -> None:
    text = json.dumps(verification_document([judge(replace(GOOD, source="net\udcff.pth"))]))
    assert json.loads(text)["results"][0]["source"] == "net\\udcff.pth"


def test_a_report_is_equivalent_when_every_verdict_is_and_there_is_one() -> None:
    assert verification_report([good()]).equivalent
    assert not verification_report([good(), bad()]).equivalent
    assert not verification_report([]).equivalent


def test_a_conversion_is_shown_with_its_norms_and_measures() -> None:
    sites, measures = (Site("bn", "BatchNorm2d", "conv", "rounding", ""),), (Measure("source", 10, 2.5),)
    report = conversion_report(Conversion("net.pth", "arch", sites, (good(),), measures))
    assert report == Report("convert", (good(),), "net.pth", "arch", sites, measures)


def test_one_report_has_one_policy() -> None:
    with pytest.raises(ValueError, match="different policies"):
        verification_report([judge(GOOD, Policy(0.9)), judge(BAD, Policy(0.8))])
