"""A file is written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from snnconv.errors import InputError
from snnconv.files import replacing, writable


def test_a_finished_draft_becomes_the_file(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    with replacing(target) as draft:
        assert draft.path.suffix == ".onnx"
        assert not target.exists()
        draft.path.write_text("done")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert target.read_text() == "done"


def test_a_draft_that_is_not_kept_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("old")
    with replacing(target) as draft:
        draft.path.write_text("new")
        draft.keep = False
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_draft_vanishes(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), replacing(tmp_path / "net.onnx") as draft:
        draft.path.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space left"), replacing(tmp_path / "net.onnx"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("old")
    with pytest.raises(InputError, match="--force"):
        writable(target, force=False)
    assert writable(target, force=True) == target
