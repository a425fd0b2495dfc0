"""Which parts of what a network returns are its outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnconv.errors import InputError, Refused
from snnconv.sources.calling.returned import Choice, choose, parts

A, B, C = torch.rand(3, 4), torch.rand(3, 2), torch.rand(3, 4)
NUMBERS, LOSS = torch.arange(3), torch.rand(())


def chosen(returned: Any, wanted: str | None) -> Choice:
    found = list(parts(returned))
    floats = [part for part in found if part.value.is_floating_point()]
    return choose(floats, wanted, [part for part in found if not part.value.is_floating_point()])


def names(choice: Choice) -> list[str]:
    return [part.output.name for part in choice.parts]


def test_all_are_every_tensor_of_real_numbers_in_its_order() -> None:
    assert names(chosen({"b": A, "a": [B, {"c": C}]}, "all")) == ["b", "a.0", "a.1.c"]


def test_of_all_those_that_are_left_out_are_named_with_the_reason() -> None:
    choice = chosen({"scores": A, "again": A, "classes": NUMBERS, "loss": LOSS, "none": A[:, :0], "boxes": B}, "all")
    assert names(choice) == ["scores", "boxes"]
    assert choice.notes == (
        "again is returned as well, and left out: it is the same tensor as scores",
        "loss is returned as well, and left out: it is a number",
        "none is returned as well, and left out: it is empty",
        "classes is returned as well, and left out: it is int64",
    )


@pytest.mark.parametrize(
    ("wanted", "expected"), [("a", "a"), ("b,a", "b a"), ("a, c", "a c"), ("1", "b"), ("2,0", "c a")], ids=str
)
def test_some_are_taken_by_name_or_index_in_the_order_in_which_they_are_asked_for(wanted: str, expected: str) -> None:
    choice = chosen({"a": A, "b": B, "c": C}, wanted)
    assert names(choice) == expected.split()
    assert not choice.notes


def test_an_index_into_a_tuple_is_no_index_into_what_stands_within() -> None:
    with pytest.raises(InputError, match=r"no output '0'; it returns 0\.0 "):
        chosen(((A, B), C), "0")


def test_an_output_that_is_called_all_is_reached_by_its_index_or_among_others() -> None:
    returned = {"all": A, "others": B}
    assert names(chosen(returned, "all")) == ["all", "others"]
    assert names(chosen(returned, "0")) == ["all"]
    assert names(chosen(returned, "others,all")) == ["others", "all"]


def test_a_name_with_a_comma_is_a_name() -> None:
    assert names(chosen({"a,b": A, "c": B}, "a,b")) == ["a,b"]


def test_an_output_that_is_asked_for_twice_is_an_error() -> None:
    with pytest.raises(InputError, match="names a twice"):
        chosen({"a": A, "b": B}, "a,b,a")


def test_two_outputs_of_one_name_are_refused() -> None:
    with pytest.raises(Refused, match=r"two outputs called a\.b; give each a name of its own"):
        chosen({"a": {"b": A}, "a.b": B}, "all")


def test_without_a_word_the_ways_to_choose_are_told() -> None:
    with pytest.raises(Refused, match="--output a, or several, as in --output a,b, or take them all with --output all"):
        chosen({"a": A, "b": B}, None)
