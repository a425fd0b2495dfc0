"""Errors are one readable text, whatever went into them."""

from __future__ import annotations

import pytest

from snnconv.errors import InputError, Refused, first_line, translated


def test_control_characters_are_escaped():
    error = InputError("'a\x1b[31m\x00\tb' is no key", "see \x07")
    assert str(error) == r"'a\x1b[31m\x00\tb' is no key; see \x07"


def test_letters_of_other_languages_stay_as_they_are():
    assert str(InputError("'größe.重み' is missing")) == "'größe.重み' is missing"


def test_a_word_that_nobody_would_read_is_shortened_at_its_middle():
    text = str(InputError(f"unexpected '{'layer.' * 500}weight'"))
    assert len(text) < 200 and text.startswith("unexpected 'layer.") and text.endswith("weight'")


def test_many_long_words_end_somewhere():
    assert len(str(InputError("word " * 5000))) <= 2000


def test_the_first_line_of_an_error_without_a_text_is_its_type():
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(ValueError("\n\n  here\nthere")) == "here"


def test_what_an_interpreter_adds_to_an_error_is_no_part_of_its_text() -> None:
    error = Refused("no bound is known", "leave it out")
    error.args = (f"{error.args[0]}\n\nWhile executing %rsub : call_function", *error.args[1:])
    assert str(error) == "no bound is known; leave it out"


def test_an_error_is_translated_with_its_cause() -> None:
    with pytest.raises(InputError, match=r"^net\.pth: no such key$") as caught, translated(lambda e: InputError(f"net.pth: {e}")):
        raise ValueError("no such key")
    assert isinstance(caught.value.__cause__, ValueError)


def test_only_the_given_kinds_of_errors_are_translated() -> None:
    with pytest.raises(ZeroDivisionError), translated(lambda e: InputError("net.pth"), (ValueError, OSError)):
        raise ZeroDivisionError


def test_an_error_of_snnconv_is_not_translated() -> None:
    error = Refused("no bound is known")
    with pytest.raises(Refused) as caught, translated(lambda e: InputError("net.pth")):
        raise error
    assert caught.value is error
