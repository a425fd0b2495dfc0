"""A table fits its width: nothing is cut, no number and no word is broken, whatever the width."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from snnconv.report.tables import Facts, FittedTable

COLUMNS = ("layer", "values", "gamma", "worst/bound", "detail")
ROWS = [
    ("first.neuron", "12,544,000", "-0.009248 to 1.846", "7.4%", "into weight [32, 8, 3, 3] and bias, in float64"),
    ("layer4.1.output_act", "3,136,000", "1.677e-09 to 6.129", "not a number", "6272 elements, thresholds -63.59 to 300.2"),
    ("output", "5,000", "", "0.5%", ""),
]
NUMBERS = ("values", "gamma", "worst/bound")
WORDS = {word for row in (COLUMNS, *ROWS) for cell in row for word in cell.split()}


def printed(table: FittedTable | Facts, width: int) -> str:
    """What a plain console of some width shows."""
    out = io.StringIO()
    Console(file=out, width=width, height=25, highlight=False, emoji=False, markup=False).print(table)
    return out.getvalue()


@pytest.mark.parametrize("width", [36, 40, 50, 60, 72, 80, 90, 100, 110, 120, 200])
def test_a_table_is_whole_at_every_width(width: int) -> None:
    text = printed(FittedTable(COLUMNS, ROWS, right=NUMBERS), width)
    assert max(map(len, text.splitlines())) <= width
    assert set(re.sub("─+", " ", text).split()) == WORDS


def test_a_wide_table_has_a_line_for_every_row() -> None:
    lines = [line for line in printed(FittedTable(COLUMNS, ROWS, right=NUMBERS), 200).splitlines() if line.strip()]
    assert len(lines) == len(ROWS) + 2


@pytest.mark.parametrize("width", [20, 200])
def test_an_empty_table_is_its_head(width: int) -> None:
    assert "worst/bound" in printed(FittedTable(COLUMNS, []), width)


def test_a_name_in_brackets_is_no_markup() -> None:
    assert "[bold]net[/bold]" in printed(FittedTable(("name",), [("[bold]net[/bold]",)]), 80)


def test_facts_stand_behind_their_names() -> None:
    text = printed(Facts([("data", "500 samples of a file with a long name"), ("flips", "none")]), 32)
    assert text.splitlines() == ["data       500 samples of a file", "           with a long name", "flips      none"]
