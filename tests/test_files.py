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
        assert draft.temporary.suffix == ".onnx"
        assert not target.exists()
        draft.write(b"done")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert target.read_text() == "done"


def test_a_draft_that_is_not_kept_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("old")
    with replacing(target) as draft:
        draft.write(b"new")
        draft.keep = False
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert target.read_text() == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_draft_vanishes(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), replacing(tmp_path / "net.onnx") as draft:
        draft.write(b"half")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    message = r"net\.onnx: cannot write: No space left.*free some space"
    with pytest.raises(InputError, match=message), replacing(tmp_path / "net.onnx") as draft:
        draft.write(b"done")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT, errno.ENOSPC])
def test_an_error_of_reading_is_not_blamed_on_the_draft(number: int, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the user's disk") as caught, replacing(tmp_path / "net.onnx"):
        raise OSError(number, "the user's disk")
    assert not isinstance(caught.value, InputError)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("old")
    with pytest.raises(InputError, match="--force"):
        writable(target, force=False)
    assert writable(target, force=True) == target
