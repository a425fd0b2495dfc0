"""Text from outside is made visible, numbers are put as a reader expects them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snnconv.report.text import megabytes, number, one_line, printable, shortened, ulps


def test_what_cannot_be_seen_is_escaped() -> None:
    assert printable("a\tb\nc\x1b[31m\u202e\udcff") == "a b\nc\\x1b[31m\\u202e\\udcff"


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()


@given(st.text(), st.integers(3, 40))
def test_a_shortened_name_keeps_its_ends(text: str, length: int) -> None:
    plain, short = one_line(text), shortened(text, length)
    assert len(short) <= length
    assert short == plain or (plain.startswith(short.split("…")[0]) and plain.endswith(short.rpartition("…")[2]))


def test_numbers_that_are_none_are_said_in_words_or_by_a_dash() -> None:
    assert (number(None), ulps(None), megabytes(0)) == ("not a number", "\N{EN DASH}", "\N{EN DASH}")
    assert (number(-63.591), ulps(3.0), ulps(3.25), ulps(1e7), megabytes(121_000)) == ("-63.59", "3", "3.25", "1e+07", "0.12 MB")
