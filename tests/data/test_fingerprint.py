"""A fingerprint names a set of samples, however it was read."""

from __future__ import annotations

import hashlib
import struct
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snnconv.data import Data, Fingerprint
from tests.data.kinds import WHOLE, N


def of(x: Tensor, y: Tensor | None, size: int = N) -> str:
    mark = Fingerprint()
    for chunk in Data(x, y, "").read(size):
        mark.add(chunk.start, chunk.x, chunk.y)
    return mark.hex


def by_hand(x: Tensor, y: Tensor | None) -> str:
    total = 0
    for k in range(len(x)):
        values = x[k].flatten().tolist()
        content = struct.pack("<Q", k) + struct.pack(f"<{len(values)}f", *values)
        content += b"" if y is None else struct.pack("<q", int(y[k]))
        total += int(hashlib.sha256(content).hexdigest(), 16)
    return f"{total % 2**256:064x}"


@given(size=st.integers(1, 30), labelled=st.booleans())
def test_chunking_does_not_show(size: int, labelled: bool) -> None:
    y = WHOLE.y if labelled else None
    assert of(WHOLE.x, y, size) == by_hand(WHOLE.x, y)


@given(cuts=st.sets(st.integers(1, N - 1)), data=st.data())
def test_parts_in_any_order_and_in_any_hands_add_up(cuts: set[int], data: st.DataObject) -> None:
    edges = [0, *sorted(cuts), N]
    parts = data.draw(st.permutations(list(pairwise(edges))))
    hands = [Fingerprint(), Fingerprint()]
    for start, stop in parts:
        hands[data.draw(st.integers(0, 1))].add(start, WHOLE.x[start:stop], WHOLE.y[start:stop])
    assert (hands[0] + hands[1]).hex == of(WHOLE.x, WHOLE.y)


def test_it_goes_on_from_a_saved_value() -> None:
    saved = Fingerprint()
    saved.add(0, WHOLE.x[:9], None)
    resumed = Fingerprint(saved.hex)
    resumed.add(9, WHOLE.x[9:], None)
    assert resumed.hex == of(WHOLE.x, None)


def test_adding_leaves_both_sides_as_they_were() -> None:
    a, b = Fingerprint("f" * 64), Fingerprint("0" * 63 + "2")
    assert (a + b).hex == "0" * 63 + "1"
    assert (a.hex, b.hex) == ("f" * 64, "0" * 63 + "2")


def test_every_change_shows() -> None:
    y = WHOLE.y
    assert y is not None
    nudged, relabelled, swapped = WHOLE.x.clone(), y.clone(), WHOLE.x.clone()
    nudged[3, 1, 2, 4] = torch.nextafter(nudged[3, 1, 2, 4], torch.tensor(2.0))
    relabelled[3] += 1
    swapped[[0, 1]] = swapped[[1, 0]]
    marks = [of(WHOLE.x, y), of(nudged, y), of(WHOLE.x, relabelled), of(swapped, y), of(WHOLE.x, None), of(WHOLE.x[:-1], y[:-1])]
    assert len(set(marks)) == len(marks)


def test_layout_in_memory_does_not_show() -> None:
    strided = WHOLE.x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not strided.is_contiguous()
    mark = Fingerprint()
    mark.add(0, strided, WHOLE.y)
    assert mark.hex == of(WHOLE.x, WHOLE.y)


def test_nothing_has_the_fingerprint_zero() -> None:
    assert Fingerprint().hex == "0" * 64


@pytest.mark.parametrize("value", ["", "0", "g" * 64, "0" * 63 + " ", "0" * 65, "0x" + "0" * 62])
def test_a_saved_value_is_64_digits(value: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        Fingerprint(value)
