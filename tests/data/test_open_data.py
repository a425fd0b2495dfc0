"""What a text may name, and what is said where it names nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnconv.data import open_data, preview, synthetic
from snnconv.errors import InputError
from tests.data.kinds import CONTRACT, KINDS, X, Y

POSSIBLE = "data is a folder of .npz files, an .npz with x and optionally y, an .npy, or package.module:factory"


def refusal(text: str, labels: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        open_data(text, CONTRACT, labels)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "origin"), [("npz", "data.npz"), ("npy", "x.npy"), ("dataset", "tests.data.kinds:dataset")])
def test_the_origin_holds_no_absolute_path(kind: str, origin: str, tmp_path: Path) -> None:
    assert KINDS[kind](tmp_path).origin == origin


def test_the_origin_of_a_folder_is_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KINDS["folder"](tmp_path).origin == tmp_path.name
    monkeypatch.chdir(tmp_path)
    assert open_data(".", CONTRACT).origin == tmp_path.name


def test_an_unknown_suffix_is_named_with_what_is_possible(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("0.1,0.2\n")
    assert refusal(str(path)) == f"{path}: unknown suffix '.csv'; {POSSIBLE}"


@pytest.mark.parametrize("text", ["nothing", "package.module.factory", "a-b:c", "a:", ":a", "a:b:c", "bad\0name"])
def test_a_text_that_names_nothing_is_told_what_is_possible(text: str) -> None:
    shown = text.replace("\0", r"\x00")
    assert refusal(text) == f"{shown}: no such file or folder; {POSSIBLE}"


def test_a_name_that_no_file_can_have_is_refused() -> None:
    assert refusal("a" * 5000).endswith(f"File name too long; {POSSIBLE}")


@pytest.mark.parametrize("name", ["nope.npz", "nope.npy"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    assert refusal(str(tmp_path / name)) == f"{tmp_path / name}: no such file; check the path"


@pytest.mark.parametrize("name", ["empty.npz", "empty.npy"])
def test_an_empty_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert "is empty" in refusal(str(tmp_path / name))


@pytest.mark.parametrize("name", ["data.npz", ".", "tests.data.kinds:dataset"])
def test_labels_of_their_own_go_with_npy_only(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X)
    np.save(tmp_path / "y.npy", Y)
    text = name if ":" in name else str(tmp_path / name)
    assert re.search(r"y\.npy: labels in a file of their own go with an \.npy, not with ", refusal(text, tmp_path / "y.npy"))


# What is seen before the contract is known.


def single_frames() -> list[tuple[np.ndarray, int]]:
    return [(np.zeros((4, 2, 3, 5), np.float32), 1)]


def batches_of_frames() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    yield torch.zeros(3, 4, 2, 3, 5), torch.arange(3)


def bare_items() -> list[np.ndarray]:
    return [np.zeros((4, 2, 3, 5), np.float32)]


def ragged() -> list[tuple[np.ndarray, object]]:
    return [(np.zeros((2, 3, 5), np.float32), [[1], [1, 2]])]


def no_array() -> list[str]:
    return ["x"]


@pytest.mark.parametrize(
    ("factory", "shapes"),
    [
        (single_frames, ((4, 2, 3, 5),)),
        (batches_of_frames, ((4, 2, 3, 5),)),
        (bare_items, ((4, 2, 3, 5), (2, 3, 5))),
        (ragged, ((3, 5),)),
        (no_array, ()),
    ],
)
def test_a_label_tells_a_sample_of_the_users_code_from_a_batch(factory: Callable[[], Any], shapes: tuple[Any, ...]) -> None:
    assert preview(f"{__name__}:{factory.__name__}").shapes == shapes


def test_files_show_the_shape_of_a_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((7, 4, 2, 3, 5), np.float32))
    np.save(tmp_path / "b.npy", np.zeros((7, 20), np.float32))
    shapes = [preview(str(path)).shapes for path in (tmp_path / "a.npz", tmp_path, tmp_path / "b.npy")]
    assert shapes == [((4, 2, 3, 5),), ((4, 2, 3, 5),), ((20,),)]


CALLS: list[int] = []


def counted() -> Iterator[np.ndarray]:
    CALLS.append(1)
    yield from (np.full((2, 3, 5), k, np.float32) for k in range(3))


def test_looking_at_an_iterable_loses_no_sample_and_calls_its_factory_once() -> None:
    CALLS.clear()
    samples = preview(f"{__name__}:counted").open(CONTRACT)
    assert next(samples.read(9)).x[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert len(CALLS) == 1


def test_no_place_is_noise_of_the_seed_and_shows_no_shape() -> None:
    seen = preview(None, seed=3)
    noise = next(seen.open(CONTRACT).read(4)).x
    assert seen.shapes == ()
    assert torch.equal(noise, next(synthetic(CONTRACT, 3).read(4)).x)
    assert not torch.equal(noise, next(synthetic(CONTRACT, 4).read(4)).x)


def test_labels_need_samples() -> None:
    with pytest.raises(InputError, match=r"^y\.npy: labels without samples; name the samples with --data$"):
        preview(None, Path("y.npy"))
