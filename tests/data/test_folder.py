"""A folder of `.npz` files reads as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnconv.data import open_data
from snnconv.errors import InputError
from tests.data.kinds import CONTRACT, X, Y


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_data(str(folder), CONTRACT)
    return str(caught.value)


def test_files_are_read_in_the_order_of_their_names_and_others_left_alone(tmp_path: Path) -> None:
    for k, name in enumerate(["10.npz", "2.npz", "a.npz"]):
        np.savez(tmp_path / name, x=X[k : k + 1])
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / "._a.npz").write_text("what a Mac leaves behind")
    samples = open_data(str(tmp_path), CONTRACT)
    assert samples.length == 3
    assert np.array_equal(next(samples.read(3)).x, X[:3])


def test_a_folder_without_npz_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: holds no .npz file; data in a folder are .npz files with x and optionally y"


def test_a_file_that_does_not_fit_is_named_before_anything_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X)
    np.savez(tmp_path / "b.npz", x=X[:, :1])
    assert refusal(tmp_path).startswith(f"{tmp_path / 'b.npz'}: x is [23, 1, 3, 5], but the network takes")


def test_labels_in_some_files_only_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.savez(tmp_path / "b.npz", x=X)
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'b.npz'}: has no labels, but {tmp_path / 'a.npz'} has; give all files")


def test_no_labels_at_all_are_fine(tmp_path: Path) -> None:
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=X)
    assert [chunk.y for chunk in open_data(str(tmp_path), CONTRACT).read(40)] == [None, None]


def test_a_value_that_does_not_fit_is_named_with_its_file_and_its_number_there(tmp_path: Path) -> None:
    bad = X.copy()
    bad[4, 0, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", x=X)
    np.savez(tmp_path / "b.npz", x=bad)
    with pytest.raises(InputError, match=r"b\.npz: x holds NaN or infinite values in sample 4;"):
        list(open_data(str(tmp_path), CONTRACT).read(30))


def test_a_file_without_a_wanted_sample_is_not_opened(tmp_path: Path) -> None:
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", x=X)
    samples = open_data(str(tmp_path), CONTRACT)
    (tmp_path / "b.npz").unlink()
    assert [chunk.index for chunk in samples.read(23, lambda index: index != 1)] == [0, 2]
    with pytest.raises(InputError, match=r"b\.npz: no such file"):
        list(samples.read(23))
