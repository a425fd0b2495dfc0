"""What a command prints is as wide as the terminal; in a pipe nothing is folded."""

from __future__ import annotations

import pytest

from snnconv.cli.render import show
from snnconv.report.tables import FittedTable

LONG = "a note " * 100


def test_in_a_pipe_every_row_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # which readline passes on to every process
    show(FittedTable(("layer", "detail"), [("first", LONG), ("last", LONG)]), LONG)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 5
    assert lines[-1] == LONG.strip()


def test_a_terminal_is_filled_and_not_exceeded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show(FittedTable(("layer", "detail"), [("first", LONG)]))
    assert 66 <= max(len(line.rstrip()) for line in capsys.readouterr().out.splitlines()) <= 72
