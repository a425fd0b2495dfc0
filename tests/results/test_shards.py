"""Shards put together are the whole run; shards that do not make up a whole run are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnconv.errors import InputError
from snnconv.results import LEVELS, MARGIN_BINS, Check, DataSummary, Difference, LayerTally, Probe, Task, Thresholds, Verification
from snnconv.results.shards import merge, parse_shard

CONTRACT = Check("contract", "", True, "T = 4")
PROOF = Check("proof", "conv", True, "54 constants confirmed")
PROBE = Probe("extreme", 5, (LayerTally("act", 40),), {"act": 3.0})
THRESHOLDS = (Thresholds("act", 6, 1, 0, 1, -1.0, 2.0, (3, 2)),)
Sample = tuple[int, int, float]
"""What a made-up sample does: flips explained and not, the error of its logits."""

SAMPLES: list[Sample] = [((7 * k) % 5, int(k % 4 == 3), k % 11 / 10) for k in range(13)]


def tally(number: int, sample: Sample) -> LayerTally:
    explained, unexplained, error = sample
    bins = tuple(explained if k == number % MARGIN_BINS else 0 for k in range(MARGIN_BINS))
    first = (number, 2) if unexplained else None
    return LayerTally("act", 100, explained, unexplained, 0, 0, error / 2, first, 20, 20 + unexplained, bins, bins)


def run(samples: list[Sample], chunk: int, shard: tuple[int, int] | None = None) -> Verification:
    """What a run over made-up samples finds, the whole of them or one shard."""
    i, n = shard or (1, 1)
    mine = [k for k in range(len(samples)) if k // chunk % n == i - 1]
    flipped = next((k for k in mine if samples[k][1]), None)
    tasks = [Task(1, 1 - samples[k][1], samples[k][2], 1, 1, 1 - samples[k][1], k % 2, k % 2) for k in mine]
    return Verification(
        *("net.pth", "5" * 64, "tests:net", "net.onnx", "c" * 64, "ONNX Runtime", "sequence"),
        DataSummary("data.npz", len(mine), f"{sum(hash_of(k) for k in mine) % 2**256:064x}", len(samples), "a" * 64),
        LEVELS,
        {"torch": "2.13", "cpu": "x86_64"},
        shard,
        (CONTRACT, PROOF) if i == 1 else (CONTRACT,),
        (reduce(add, [tally(k, samples[k]) for k in mine]),) if mine else (),
        (PROBE,) if i == 1 else (),
        reduce(add, tasks) if mine else None,
        None if flipped is None else Difference(flipped, 2, "act", 1, (0, 1), ("00", "01"), ("00", "00")),
        THRESHOLDS if i == 1 else (),
        ("one note",),
        0.25 * len(mine),
        "the user's code, tests:net",
        {"timesteps": "4 (default)"},
    )


def hash_of(number: int) -> int:
    return 2**255 + 2**254 * (number % 3) + number


def shards(n: int, chunk: int = 2, samples: list[Sample] = SAMPLES) -> list[Verification]:
    return [run(samples, chunk, (i, n)) for i in range(1, n + 1)]


@pytest.mark.parametrize("chunk", [1, 2, 5, 13])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_n_shards_are_the_whole_run(n: int, chunk: int) -> None:
    assert merge(shards(n, chunk)) == [run(SAMPLES, chunk)]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.floats(0, 1e6)), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(1, 7),
    st.randoms(),
)
def test_any_data_in_any_shards_in_any_order_are_the_whole_run(samples: list[Sample], chunk: int, n: int, random: object) -> None:
    given_out = shards(n, chunk, samples)
    random.shuffle(given_out)  # type: ignore[attr-defined]
    (found,) = merge(given_out)
    whole = run(samples, chunk)
    assert replace(found, seconds=0) == replace(whole, seconds=0)
    assert found.seconds == pytest.approx(whole.seconds)


def test_shards_without_a_chunk_of_their_own_are_needed_all_the_same() -> None:
    few = SAMPLES[:3]
    given_out = shards(5, 2, few)
    assert [one.data.samples for one in given_out] == [2, 1, 0, 0, 0]
    assert merge(given_out) == [run(few, 2)]
    with pytest.raises(InputError, match=r"5/5"):
        merge(given_out[:-1])


def test_what_only_the_first_shard_checks_is_kept() -> None:
    (found,) = merge(shards(3))
    assert (found.checks, found.probes, found.thresholds) == ((CONTRACT, PROOF), (PROBE,), THRESHOLDS)


def test_a_check_that_fails_in_any_shard_is_kept() -> None:
    failed = Check("deployment", "act", False, "the artifact does not run as it should")
    first, second, third = shards(3)
    (found,) = merge([first, replace(second, checks=(CONTRACT, failed)), third])
    assert found.checks == (CONTRACT, PROOF, failed)


def test_a_shard_that_broke_off_still_counts_what_it_saw() -> None:
    first, second = shards(2)
    broken = replace(second, layers=(), task=None, difference=None)
    (found,) = merge([first, broken])
    assert found.layers == first.layers
    assert found.task == first.task


def test_the_first_difference_is_the_one_of_the_earliest_sample() -> None:
    assert [one.difference.sample for one in shards(2, 1) if one.difference] == [3], "of the second shard alone"
    given_out = shards(3, 1)
    assert [one.difference.sample for one in given_out if one.difference] == [3, 7, 11]
    (found,) = merge([given_out[2], given_out[1], given_out[0]])
    assert found.difference is not None
    assert found.difference.sample == 3


def test_machines_that_differ_are_all_named() -> None:
    first, second = shards(2)
    (found,) = merge([first, replace(second, environment={"torch": "2.13", "cpu": "aarch64"})])
    assert found.environment == {"torch": "2.13", "cpu": "x86_64 | aarch64"}


def test_notes_are_told_once() -> None:
    (found,) = merge([replace(one, notes=("same", f"of {one.shard}")) for one in shards(2)])
    assert found.notes == ("same", "of (1, 2)", "of (2, 2)")


def test_candidates_are_merged_each_by_itself_in_the_order_of_their_first_appearance() -> None:
    other = [replace(one, candidate="net.ts", candidate_sha256="d" * 64) for one in shards(3)]
    step = [replace(one, form="step") for one in shards(2)]
    found = merge([*other[1:], *shards(2), *step, other[0]])
    assert [(one.candidate, one.form, one.shard) for one in found] == [
        ("net.ts", "sequence", None),
        ("net.onnx", "sequence", None),
        ("net.onnx", "step", None),
    ]


# What does not make up a whole run.


def test_missing_shards_are_named() -> None:
    with pytest.raises(InputError, match=r"^net\.onnx: shards 2/4, 4/4 are missing; name the results of all 4 shards$"):
        merge([shards(4)[0], shards(4)[2]])


def test_a_shard_that_is_there_twice_is_named() -> None:
    with pytest.raises(InputError, match=r"^net\.onnx: shard 2/3 is there twice; name each result once$"):
        merge([*shards(3), shards(3)[1]])


@pytest.mark.parametrize("number", [0, 4])
def test_a_shard_that_no_run_has_is_named(number: int) -> None:
    with pytest.raises(InputError, match=rf"^net\.onnx: there is no shard {number}/3; verify again"):
        merge([*shards(3), replace(shards(3)[0], shard=(number, 3))])


def test_a_whole_run_is_no_shard() -> None:
    with pytest.raises(InputError, match=r"^net\.onnx: one of the results is of a whole run; .*--shard"):
        merge([*shards(2), run(SAMPLES, 2)])
    with pytest.raises(InputError, match=r"whole run"):
        merge([run(SAMPLES, 2)])


FOREIGN: dict[str, tuple[Callable[[Verification], Verification], str]] = {
    "source": (lambda v: replace(v, source_sha256="0" * 64), f"differ in their source: {'5' * 64} and {'0' * 64}"),
    "artifact": (lambda v: replace(v, candidate_sha256="0" * 64), "differ in their artifact"),
    "count": (lambda v: replace(v, shard=(2, 3)), "differ in their number of shards: 2 and 3"),
    "data": (lambda v: replace(v, data=replace(v.data, origin="b.npz")), r"differ in their data: data\.npz and b\.npz"),
    "length": (
        lambda v: replace(v, data=replace(v.data, length=14)),
        "differ in their number of samples of the whole data: 13 and 14",
    ),
    "content": (lambda v: replace(v, data=replace(v.data, start="b" * 64)), "differ in their first samples"),
    "reference": (
        lambda v: replace(v, reference="snnconv's form of net"),
        "differ in their reference: the user's code, tests:net and snnconv's form of net",
    ),
    "settings": (
        lambda v: replace(v, settings={"timesteps": "6 (option)"}),
        r"differ in their settings: timesteps 4 \(default\) and timesteps 6 \(option\)",
    ),
    "levels": (lambda v: replace(v, levels=("task",)), "differ in their levels: proof, algebra, deployment, task and task"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_shard_of_another_run_is_named(kind: str) -> None:
    change, words = FOREIGN[kind]
    first, second = shards(2)
    with pytest.raises(InputError, match=rf"^net\.onnx: the shards {words}"):
        merge([first, change(second)])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda v: replace(v, arch="tests:other"), id="architecture"),
        pytest.param(lambda v: replace(v, environment={**v.environment, "snnconv": "9"}), id="version"),
    ],
)
def test_shards_of_another_architecture_or_version_are_of_another_run(change: Callable[[Verification], Verification]) -> None:
    first, second = shards(2)
    with pytest.raises(InputError, match="the shards differ"):
        merge([first, change(second)])


def test_nothing_merges_into_nothing() -> None:
    assert merge([]) == []


# Naming a shard.


@pytest.mark.parametrize(("text", "shard"), [("1/1", (1, 1)), ("2/4", (2, 4)), ("4/4", (4, 4)), ("07/10", (7, 10))])
def test_a_shard_is_i_of_n(text: str, shard: tuple[int, int]) -> None:
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "/", "1", "0/4", "5/4", "0/0", "-1/4", "1/4/4", "a/b", "1.0/2", "²/4", "1 / 2", "+1/2"])
def test_anything_else_is_no_shard(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_shard(text)
    assert str(caught.value) == f"shard is '{text}'; it is i/n with 1 <= i <= n, as in 2/4"
