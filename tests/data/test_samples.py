"""Every kind of data gives the same chunks as the same samples in memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snnconv.data import Chunk, Data, Samples, batch, first, synthetic
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from tests.data.kinds import CONTRACT, EVENT, KINDS, WHOLE, N

ITERATED = {"loader", "generator", "batches", "mixed", "one_buffer", "Stream"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Samples]:
    return {name: make(tmp_path_factory.mktemp("data")) for name, make in KINDS.items()}


def same(a: Chunk, b: Chunk) -> bool:
    assert a.y is not None
    assert b.y is not None
    return (a.index, a.start) == (b.index, b.start) and torch.equal(a.x, b.x) and torch.equal(a.y, b.y)


@pytest.mark.parametrize("kind", KINDS)
@given(size=st.integers(1, 30), wanted=st.sets(st.integers(0, 24)))
def test_every_kind_gives_the_chunks_of_the_samples_in_memory(kind: str, size: int, wanted: set[int], opened: dict) -> None:
    chunks = list(opened[kind].read(size, wanted.__contains__))
    assert [chunk.index for chunk in chunks] == sorted(k for k in wanted if k * size < N)
    for chunk in chunks:
        start, stop = chunk.index * size, min(N, (chunk.index + 1) * size)
        assert same(chunk, Chunk(chunk.index, start, WHOLE.x[start:stop], WHOLE.y[start:stop]))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_contiguous_float32_and_int64(kind: str, opened: dict[str, Samples]) -> None:
    for chunk in opened[kind].read(6):
        assert chunk.x.is_contiguous()
        assert chunk.y is not None
        assert (chunk.x.dtype, chunk.y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_starts_from_the_beginning_each_time_even_after_half_a_read(kind: str, opened: dict[str, Samples]) -> None:
    next(iter(opened[kind].read(4)))
    chunks = [next(iter(opened[kind].read(4))) for _ in range(2)]
    assert all(torch.equal(chunk.x, WHOLE.x[:4]) for chunk in chunks)


@pytest.mark.parametrize("kind", KINDS)
def test_two_reads_at_once_do_not_disturb_each_other(kind: str, opened: dict[str, Samples]) -> None:
    pairs = list(zip(opened[kind].read(5), opened[kind].read(5), strict=True))
    assert len(pairs) == 5
    assert all(same(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_stay_as_they_are_while_more_is_read(kind: str, opened: dict[str, Samples]) -> None:
    assert torch.equal(torch.cat([chunk.x for chunk in opened[kind].read(3)]), WHOLE.x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_is_known_unless_the_samples_come_one_after_the_other(kind: str, opened: dict[str, Samples]) -> None:
    assert opened[kind].length == (None if kind in ITERATED else N)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ITERATED])
@pytest.mark.parametrize("size", [1, 22, 23, 24])
def test_each_chunk_is_asked_for_once_where_the_length_is_known(kind: str, size: int, opened: dict[str, Samples]) -> None:
    asked: list[int] = []

    def wanted(index: int) -> bool:
        asked.append(index)
        return False

    list(opened[kind].read(size, wanted))
    assert asked == list(range(-(-N // size)))


@pytest.mark.parametrize("kind", KINDS)
def test_first_gives_as_many_samples_as_there_are(kind: str, opened: dict[str, Samples]) -> None:
    assert torch.equal(first(opened[kind], 2), WHOLE.x[:2])
    assert torch.equal(first(opened[kind], 100), WHOLE.x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_has_at_least_one_sample(kind: str, size: int, opened: dict[str, Samples]) -> None:
    with pytest.raises(ValueError, match=f"chunks of {size} samples"):
        list(opened[kind].read(size))


def test_an_error_of_the_one_who_asks_is_not_blamed_on_the_data(opened: dict[str, Samples]) -> None:
    for samples in opened.values():
        with pytest.raises(KeyError):
            list(samples.read(4, lambda index: {}[index]))


def test_a_batch_larger_than_the_data_shows_them_again_in_order() -> None:
    data = Data(WHOLE.x[:3], None, "three")
    assert torch.equal(batch(data, 7), WHOLE.x[[0, 1, 2, 0, 1, 2, 0]])
    assert torch.equal(batch(data, 2), WHOLE.x[:2])


def test_the_first_of_no_samples_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing: holds no samples"):
        first(Data(torch.zeros(0, 2, 3, 5), None, "nothing"), 2)


def test_samples_in_memory_without_labels_have_none_in_their_chunks() -> None:
    assert [chunk.y for chunk in Data(WHOLE.x, None, "").read(20)] == [None, None]


@pytest.mark.parametrize("contract", [CONTRACT, EVENT])
def test_synthetic_input_is_seeded_and_says_that_it_is_synthetic(contract: TimeContract) -> None:
    assert torch.equal(synthetic(contract, 3).x, synthetic(contract, 3).x)
    assert not torch.equal(synthetic(contract, 3).x, synthetic(contract, 4).x)
    assert synthetic(contract, samples=5).x.shape == contract.batch_shape(5)
    assert synthetic(contract, 3).origin == "synthetic noise, seed 3: no real data was given"


def test_synthetic_frames_are_events() -> None:
    assert set(synthetic(EVENT).x.unique().tolist()) == {0.0, 1.0}
