"""A table fits the terminal: nothing is cut, no number and no word is broken, whatever the width; in a pipe nothing is folded."""

from __future__ import annotations

import re

import pytest

from snnconv.cli.render import console, print_table

COLUMNS = ("layer", "values", "gamma", "worst/bound", "detail")
ROWS = [
    ("first.neuron", "12,544,000", "-0.009248 to 1.846", "7.4%", "into weight [32, 8, 3, 3] and bias, in float64"),
    ("layer4.1.output_act", "3,136,000", "1.677e-09 to 6.129", "not a number", "6272 elements, thresholds -63.59 to 300.2"),
    ("output", "5,000", "", "0.5%", ""),
]
NUMBERS = ("values", "gamma", "worst/bound")
WORDS = {word for row in (COLUMNS, *ROWS) for cell in row for word in cell.split()}


def terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stdout a plain terminal of some width."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)


@pytest.mark.parametrize("width", [36, 40, 50, 60, 72, 80, 90, 100, 110, 120, 200])
def test_a_table_is_whole_at_every_width(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(width, monkeypatch)
    print_table("", COLUMNS, ROWS, right=NUMBERS)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert set(re.sub("─+", " ", text).split()) == WORDS


def test_in_a_pipe_every_row_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # which readline passes on to every process
    long = "a note " * 100
    print_table("", COLUMNS, [*ROWS, ("last", "1", "2", "3", long)], right=NUMBERS)
    console().print(long)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == len(ROWS) + 4
    assert lines[-1] == long.strip()


def test_an_empty_table_is_its_head(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for width in (20, 200):
        terminal(width, monkeypatch)
        print_table("", COLUMNS, [])
    assert "worst/bound" in capsys.readouterr().out
