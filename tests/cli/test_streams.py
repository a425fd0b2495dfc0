"""Whoever reads the output may go away at any time: no exit code changes, least of all to 1, which is a verdict."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from snnconv.report import write_report
from snnconv.results.document import verification_report
from tests.cli.run import ROOT
from tests.report.examples import bad, good

CODES = {
    "--help": 0,
    "report schema": 0,
    "report good.json": 0,
    "report good.json --json": 0,
    "report bad.json": 1,
    "report bad.json --format github": 1,
    "report nope.json": 2,
    "frobnicate": 2,
    "inspect nope.pth": 2,
}
PROGRAM = [sys.executable, "-m", "snnconv"]
SHELL = " ".join(map(shlex.quote, PROGRAM))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the saved results of two verifications."""
    for name, verdict in (("good", good()), ("bad", bad())):
        write_report(tmp_path / f"{name}.json", verification_report([verdict]))
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def ended(command: str, folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    """How `snnconv COMMAND` ends where a shell sends its output, and what else it said."""
    line = f"{SHELL} {command} {how}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", CODES)
def test_a_reader_that_goes_away_changes_no_exit_code(command: str, here: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, *command.split()], cwd=here, env=environment(), stdout=writer, stderr=writer, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == CODES[command]


def test_nothing_is_said_of_a_reader_that_goes_away(here: Path) -> None:
    done = ended("report schema", here, "| true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["report good.json", "report bad.json", "report nope.json"])
def test_closed_outputs_change_no_exit_code(command: str, here: Path) -> None:
    assert ended(command, here, ">&- 2>&-").returncode == CODES[command]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_is_full_is_an_error_in_one_line(here: Path) -> None:
    done = ended("report good.json", here, "> /dev/full")
    assert (done.returncode, done.stderr) == (2, "error: output: No space left on device\n")


def test_a_terminal_that_knows_few_letters_gets_the_text_all_the_same(here: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "report", "good.json"],
        cwd=here,
        env={**environment(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"verdict: EQUIVALENT" in done.stdout
