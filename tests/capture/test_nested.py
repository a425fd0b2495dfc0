"""Tensors are found in containers, and others are put in their place."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from snnconv.capture.nested import put_into, tensors_in, unshared, value_at


class Pair(NamedTuple):
    u: Any
    i: Any


A, B, C = (torch.full((2,), float(n)) for n in range(3))
NESTED = {"a": [A, 3, (B,)], "b": Pair(C, None), 7: nn.Parameter(torch.ones(2)), "none": []}


def test_tensors_are_found_with_their_keys_and_parameters_are_not() -> None:
    assert [keys for keys, _ in tensors_in(NESTED)] == [("a", 0), ("a", 2, 0), ("b", 0)]
    assert all(value_at(NESTED, keys) is tensor for keys, tensor in tensors_in(NESTED))
    assert value_at(NESTED, ("b", 5, "x")) is None


@pytest.mark.parametrize("value", [0.0, None, [0.0, 0.0], (None, None), {}, [A]])
@pytest.mark.parametrize("like", [[A, B], (A, B), Pair(A, B), {0: A, 1: B}])
def test_what_is_put_is_found_there_whatever_was(value: Any, like: Any) -> None:
    keys = [keys for keys, _ in tensors_in(like)]
    put = put_into(value, like, dict(zip(keys, (B, C), strict=True)))
    assert type(put) is type(like)
    assert [value_at(put, key) for key in keys] == [B, C]


def test_a_part_is_put_beside_what_is_there() -> None:
    held: dict[str, Any] = {"s": [A, 0.5], "name": "x"}
    shared = held["s"]
    assert put_into(held, {"s": [B, 0.0]}, {("s", 0): C}) is held
    assert held == {"s": [C, 0.5], "name": "x"} and held["s"] is shared


def test_a_container_that_is_not_shared_keeps_the_other_as_it_is() -> None:
    held = {"s": [A]}
    put_into(unshared(held), held, {("s", 0): B})
    assert held["s"][0] is A
