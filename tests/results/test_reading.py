"""Documents are read back without loss, and what is no document is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snnconv.errors import InputError
from snnconv.report import conversion_report, read_results, verification_document, verification_report, write_report
from snnconv.results import Verification
from snnconv.results.verdict import Conversion, judge
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
