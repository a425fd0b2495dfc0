"""Documents and plain verifications are read back without loss; what is none is refused in one line that names the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snnconv.errors import InputError
from snnconv.report import write_report
from snnconv.results import Conversion, Verification
from snnconv.results.document import conversion_report, to_plain, verification_document, verification_report
from snnconv.results.reading import from_plain, read_results
from snnconv.results.schema import OPTIONAL
from snnconv.results.verdict import judge
from tests.report.examples import BAD, GOOD, bad, good
from tests.report.strategies import verifications


@given(st.lists(verifications, max_size=2))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_written_report_reads_back(tmp_path: Path, found: list[Verification]) -> None:
    write_report(tmp_path / "report.json", verification_report(map(judge, found)))
    assert read_results(tmp_path / "report.json") == found


def test_a_conversion_reads_back(tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", conversion_report(Conversion("net.pth", "arch", (), (good(), bad()))))
    assert read_results(tmp_path / "report.json") == [GOOD, BAD]


def drop(key: str) -> Callable[[Any], Any]:
    return lambda document: {k: v for k, v in document.items() if k != key}


def put(**values: object) -> Callable[[Any], Any]:
    return lambda document: {**document, **values}


def in_result(**values: object) -> Callable[[Any], Any]:
    return lambda document: {**document, "results": [document["results"][0], {**document["results"][1], **values}]}


def without(key: str) -> Callable[[Any], Any]:
    return lambda document: {**document, "results": [document["results"][0], drop(key)(document["results"][1])]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: [], "no report of snnconv, schema is missing; name a file that"),
        (drop("schema"), "no report of snnconv, schema is missing; name a file that"),
        (put(schema=1), "schema is 1, not 4; verify again with this version"),
        (put(schema=2), "schema is 2, not 4; verify again with this version"),
        (put(schema=True), "schema is true, not 4; verify again"),
        (put(schema="4"), 'schema is "4", not 4; verify again'),
        (drop("command"), "command is null; a report with results is of verify or convert"),
        (put(command="fold"), 'command is "fold"; a report with results is of verify or convert'),
        (drop("results"), "results is missing; "),
        (put(results={}), "results: input should be a valid "),
        (put(more=1), "more is unknown; "),
        (put(policy={"agreement": 0.5}), "policy.explained_flips is missing; "),
        (put(policy={"agreement": 5.0}), "policy agreement is 5.0; it is a share"),
        (in_result(layers=[{"name": "a"}]), "results[1].layers[0].values is missing; "),
        (in_result(layers=[{"values": 1}]), "results[1].layers[0].name is missing; "),
        (without("reference"), "results[1].reference is missing; "),
        (without("settings"), "results[1].settings is missing; "),
        (in_result(seconds="now"), "results[1].seconds: input should be a valid number; "),
        (in_result(shard=[-1, 4]), "results[1].shard[0] is negative; "),
        (in_result(verdict={}), "results[1].verdict.equivalent is missing; "),
    ],
)
def test_a_wrong_document_is_refused_with_the_first_problem(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(change(verification_document([good(), bad()]))))
    with pytest.raises(InputError) as error:
        read_results(path)
    assert str(error.value).startswith(f"{path}: {said}")
    assert error.value.todo
    assert "\n" not in str(error.value)


WHOLE = json.dumps(verification_document([good()]), indent=2).encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (WHOLE[: len(WHOLE) // 2], "not JSON, or truncated: line "),
        (b"PK\x03\x04\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON, or nested too deep"),
        (WHOLE.replace(b"3.8e-06", b"Infinity"), "results[0].task.logit_error: input should be a finite number"),
        (WHOLE.replace(b"3.8e-06", b"1e999"), "results[0].task.logit_error: input should be a finite number"),
        (WHOLE.replace(b"fashion.onnx", b"\\ud800"), "the whole: invalid JSON"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text)
    with pytest.raises(InputError) as error:
        read_results(path)
    assert str(error.value).startswith(f"{path}: {said}")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_results(tmp_path / "report.json")


@given(verifications)
@settings(max_examples=60, deadline=None)
def test_there_and_back_loses_nothing(found: Verification) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(found)))) == found


@pytest.mark.parametrize("name", [field.name for field in fields(Verification) if field.name not in OPTIONAL])
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
