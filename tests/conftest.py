"""Shared set-up: one thread a worker, and the golden checkpoint where it is at hand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from snnconv.artifact.formats import Export
from snnconv.export import onnx
from snnconv.ir import pt2

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"

_exported: dict[tuple[Any, ...], bytes] = {}

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the checkpoint that the MPBN authors' code trained; tests that need it skip where it is absent."""
    if not (GOLDEN / "mpbn_res20m.pth").is_file():
        pytest.skip(f"no golden checkpoint: ../shared/{GOLDEN.name}/mpbn_res20m.pth is absent")
    return GOLDEN


@pytest.fixture(scope="session", autouse=True)
def _translations_are_read_once() -> Iterator[None]:
    """torch reads its table of translations to ONNX anew for every export, which takes as long as a small network's export."""
    read = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(opset_version: int) -> ONNXRegistry:
        registry = copy(read(opset_version))
        registry.functions = {target: list(found) for target, found in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib))
        yield


@pytest.fixture
def exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was exported to ONNX before is not exported again: torch's exporter is slow, and its file follows from the program."""

    def encode(export: Export) -> bytes:
        key = sha256(pt2.encode(export.program)).digest(), export.form, export.batch, json.dumps(export.metadata)
        if key not in _exported:
            _exported[key] = onnx.to_onnx(export)
        return _exported[key]

    monkeypatch.setattr(onnx, "FORMAT", replace(onnx.FORMAT, encode=encode))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as long what `@pytest.mark.sample(n)` leaves out of an ordinary run: all but n cases, the same in every run."""
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sample"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for name, listed in cases.items():
        (kept,) = listed[0].get_closest_marker("sample").args
        for item in Random(name).sample(listed, max(0, len(listed) - kept)):
            item.add_marker("long")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the score of the verifier's exam (`tests/verify/test_mutations.py`) where it ran."""
    reports = [report for listed in terminalreporter.stats.values() for report in listed if getattr(report, "when", "") == "call"]
    found = [value for report in reports for name, value in report.user_properties if name == "exam"]
    mutants = sorted((entry for entry in found if "mutants" in entry), key=lambda entry: entry["kind"])
    sound = [entry for entry in found if "sound" in entry]
    if mutants:
        terminalreporter.section("exam of the verifier")
        terminalreporter.write_line(f"mutation score: {_score(mutants)}")
        for family in dict.fromkeys(entry["family"] for entry in mutants):
            terminalreporter.write_line(f"    {family:22}{_score([entry for entry in mutants if entry['family'] == family])}")
        behaviour = [{**entry, "caught": entry["behaviour"]} for entry in mutants]
        quiet = [entry for entry in mutants if entry["quiet"]]
        for words, entries in (("flip no spike", quiet), ("by what they do", behaviour)):
            if entries:
                terminalreporter.write_line(f"    {words:22}{_score(entries)}")
        for entry in mutants:
            if entry["caught"] < entry["mutants"]:
                missed = entry["mutants"] - entry["caught"]
                terminalreporter.write_line(f"    missed: {entry['kind']}, {missed} of {entry['mutants']}")
    if sound:
        accused, runs = (sum(entry[key] for entry in sound) for key in ("accused", "sound"))
        terminalreporter.write_line(f"false alarms: {accused} of {runs} sound artifacts")


def _score(entries: list[dict]) -> str:
    """Caught and made, over some kinds of mutants."""
    caught, made = (sum(entry[key] for entry in entries) for key in ("caught", "mutants"))
    return f"{caught} of {made} mutants of {len(entries)} kinds caught ({100 * caught / made:.1f} %)"
