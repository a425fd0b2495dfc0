"""Samples in `.npz` and `.npy` files: what is accepted, what is refused and when, and what damage does."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snnconv.data import open_data
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from tests.data.kinds import CONTRACT, EVENT, X, Y


def frames(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.full(shape or (4, 2, 3, 5), 0.5, dtype)


def npz(compress: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy(x: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, x, version)
    return buffer.getvalue()


def holding(at: tuple[int, ...], value: float, dtype: Any = np.float32) -> np.ndarray:
    x = frames(dtype=dtype)
    x[at] = value
    return x


def archive(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def with_header(text: str) -> bytes:
    """An `.npy` with this header and no values."""
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode("latin1")


def encrypted() -> bytes:
    """The flag that says a member is encrypted, in both of its headers."""
    content = bytearray(npz(x=frames()))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


SAVE = "; save it with numpy.savez(FILE, x=..., y=...)"
ADVICE = "; pass --input-shape C,H,W, --timesteps T or --input static|event to match the data"
PLAIN = "not a plain .npz, or truncated: "

AT_OPENING: dict[str, tuple[Callable[[], bytes], str]] = {
    "integers": (lambda: npz(x=frames(dtype=np.uint8)), "x is uint8, not float32; scale it as in training, then make it float32"),
    "text": (lambda: npz(x=np.full((4, 2, 3, 5), "a")), "x is <U1, not float32; scale"),
    "long doubles": (lambda: npz(x=frames(dtype=np.longdouble)), "x is float128, not float32; scale"),
    "wrong shape": (
        lambda: npz(x=frames(4, 3, 8, 8)),
        "x is [4, 3, 8, 8], but the network takes [N, C, H, W] = [N, 2, 3, 5]" + ADVICE,
    ),
    "one sample": (lambda: npz(x=frames(2, 3, 5)), "x is [2, 3, 5], but"),
    "scalar": (lambda: npz(x=np.float32(1)), "x is [], but"),
    "no samples": (lambda: npz(x=frames(0, 2, 3, 5)), "x holds no samples"),
    "no x": (lambda: npz(images=frames(), y=Y), "holds images, y, no 'x'" + SAVE),
    "nothing": (lambda: npz(), "holds nothing, no 'x'" + SAVE),
    "member without a suffix": (
        lambda: archive(x=npy(frames())).replace(b"x.npy", b"x....").replace(b"x....", b"x.NPY"),
        "no 'x'",
    ),
    "a member named x": (lambda: archive(x=npy(frames())).replace(b"x.npy", b"x\0npy"), PLAIN),
    "not an archive": (lambda: b"not an archive", PLAIN + "File is not a zip file" + SAVE),
    "npy": (lambda: npy(frames()), PLAIN),
    "truncated": (lambda: npz(x=frames())[:400], PLAIN),
    "pickled objects": (lambda: npz(x=np.array([{}], dtype=object)), PLAIN + "it holds pickled objects" + SAVE),
    "pickled labels": (lambda: npz(x=frames(), y=np.array([None] * 4)), PLAIN + "it holds pickled objects"),
    "member cut off": (lambda: archive(x=npy(frames())[:-1]), PLAIN + "it should hold 608 bytes, but holds 607"),
    "labels cut off": (lambda: archive(x=npy(frames()), y=npy(np.arange(4))[:-1]), PLAIN + "it should hold 160 bytes"),
    "member without magic": (lambda: archive(x=b"text"), PLAIN),
    "empty member": (lambda: archive(x=b""), PLAIN),
    "member of another version": (lambda: archive(x=npy(frames(), (3, 0))), PLAIN + "version (3, 0) of the format"),
    "header of code": (lambda: archive(x=with_header("__import__('os')")), PLAIN),
    "header of brackets": (lambda: archive(x=with_header("(" * 5000)), PLAIN),
    "negative shape": (
        lambda: archive(x=with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2, 3, 5)}")),
        PLAIN + "its shape is (-1, 2, 3, 5)",
    ),
    "boundless shape": (
        lambda: archive(x=with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000000000, 2, 3, 5)}")),
        PLAIN + "it should hold 1200",
    ),
    "encrypted": (encrypted, PLAIN + "File 'x.npy' is encrypted"),
    "Fortran order": (
        lambda: npz(x=np.asfortranarray(frames())),
        "x is in Fortran order, one sample is spread over all of it; save numpy.ascontiguousarray(x)",
    ),
    "too few labels": (lambda: npz(x=frames(), y=Y[:3]), "4 samples in x, but 3 labels in y"),
    "too many labels": (lambda: npz(x=frames(), label=Y[:5]), "4 samples in x, but 5 labels in label"),
    "labels of floats": (
        lambda: npz(x=frames(), y=np.zeros(4)),
        "y is float64 of shape [4]; labels are integers [N]; leave y out",
    ),
    "labels of truth": (lambda: npz(x=frames(), y=np.zeros(4, bool)), "y is bool of shape [4]"),
    "labels one-hot": (lambda: npz(x=frames(), y=np.zeros((4, 5), np.int64)), "y is int64 of shape [4, 5]"),
}

WHILE_READING: dict[str, tuple[Callable[[], bytes], str]] = {
    "NaN": (
        lambda: npz(x=holding((2, 1, 2, 3), np.nan)),
        "x holds NaN or infinite values in sample 2; clean the data; a verdict on NaN means nothing",
    ),
    "infinity": (lambda: npz(x=holding((3, 0, 0, 0), -np.inf)), "x holds NaN or infinite values in sample 3"),
    "infinite halves": (lambda: npz(x=holding((1, 0, 0, 0), np.inf, np.float16)), "x holds NaN or infinite values in sample 1"),
    "too large for float32": (
        lambda: npz(x=holding((1, 0, 0, 0), 1e300, np.float64)),
        "x does not fit into float32 in sample 1; scale it as in training",
    ),
}


def written(folder: Path, content: bytes, name: str = "data.npz") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def refusal(text: str, contract: TimeContract = CONTRACT, labels: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        open_data(text, contract, labels)
    return str(caught.value)


@pytest.mark.parametrize("fault", AT_OPENING)
def test_what_headers_and_labels_tell_is_found_at_opening(fault: str, tmp_path: Path) -> None:
    make, words = AT_OPENING[fault]
    text = written(tmp_path, make())
    message = refusal(text)
    assert message.startswith(f"{text}: ")
    assert words in message


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("fault", WHILE_READING)
def test_values_that_do_not_fit_are_found_in_their_chunk_and_their_sample_is_named(fault: str, size: int, tmp_path: Path) -> None:
    make, words = WHILE_READING[fault]
    text = written(tmp_path, make())
    with pytest.raises(InputError, match=re.escape(f"{text}: {words}")):
        list(open_data(text, CONTRACT).read(size))


def test_a_fault_in_a_chunk_that_nobody_wants_is_not_met(tmp_path: Path) -> None:
    text = written(tmp_path, npz(x=holding((2, 0, 0, 0), np.nan)))
    assert [chunk.index for chunk in open_data(text, CONTRACT).read(2, lambda index: index == 0)] == [0]


def test_the_sample_is_named_beyond_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnconv.data.stored._BLOCK_BYTES", 250)
    text = written(tmp_path, npz(x=holding((3, 0, 0, 0), np.nan)))
    with pytest.raises(InputError, match="in sample 3"):
        list(open_data(text, CONTRACT).read(4))


@pytest.mark.parametrize("block", [1, 250, 1000])
def test_the_size_of_a_block_does_not_show(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnconv.data.stored._BLOCK_BYTES", block)
    monkeypatch.setattr("snnconv.data.place._SKIP_BYTES", block)
    samples = open_data(written(tmp_path, npz(True, x=X, y=Y)), CONTRACT)
    (chunk,) = samples.read(9, lambda index: index == 1)
    assert np.array_equal(chunk.x, X[9:18])


def test_frames_of_an_event_network_have_a_dimension_of_time(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((5, 4, 2, 3, 5), np.float32)
    text = written(tmp_path, npz(x=x))
    assert np.array_equal(next(open_data(text, EVENT).read(5)).x, x)
    assert "x is [5, 4, 2, 3, 5], but the network takes [N, C, H, W] = [N, 2, 3, 5]" in refusal(text)
    short = refusal(written(tmp_path, npz(x=x[:, :3])), EVENT)
    assert "x is [5, 3, 2, 3, 5], but the network takes [N, T, C, H, W] = [N, 4, 2, 3, 5]" in short


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_every_float_becomes_float32(dtype: str, version: tuple[int, int], tmp_path: Path) -> None:
    x = X.astype(dtype)
    samples = open_data(written(tmp_path, archive(zipfile.ZIP_DEFLATED, x=npy(x, version))), CONTRACT)
    assert np.array_equal(next(samples.read(100)).x, x.astype(np.float32))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_may_be_compressed_in_any_way(method: int, tmp_path: Path) -> None:
    samples = open_data(written(tmp_path, archive(method, x=npy(X))), CONTRACT)
    assert np.array_equal(next(samples.read(100)).x, X)


@pytest.mark.parametrize(("y", "label"), [(np.zeros((23, 10)), Y), (Y, Y[:4]), (Y.astype(np.uint16), np.zeros(2))])
def test_label_counts_where_y_holds_something_else(y: np.ndarray, label: np.ndarray, tmp_path: Path) -> None:
    chunk = next(open_data(written(tmp_path, npz(x=X, y=y, label=label)), CONTRACT).read(100))
    assert chunk.y is not None
    assert np.array_equal(chunk.y, Y)


@pytest.mark.parametrize("arrays", [{}, {"label": np.zeros(23)}, {"y": np.zeros(23), "label": np.zeros(23)}, {"other": Y}])
def test_without_labels_there_are_none(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    assert next(open_data(written(tmp_path, npz(x=X, **arrays)), CONTRACT).read(100)).y is None


def damaged(seed: int) -> bytes:
    content = bytearray(npz(True, x=np.random.default_rng(0).random((400, 2, 3, 5), np.float32)))
    middle = len(content) // 2
    content[middle : middle + 40] = np.random.default_rng(seed).bytes(40)
    return bytes(content)


@pytest.mark.parametrize("seed", range(20))
def test_damage_midway_is_an_error_and_no_traceback(seed: int, tmp_path: Path) -> None:
    text = written(tmp_path, damaged(seed))
    message = re.escape(f"{text}: not a plain .npz, or truncated near sample ") + r"\d+: .+" + re.escape(SAVE)
    with pytest.raises(InputError, match=message):
        list(open_data(text, CONTRACT).read(10))


def test_damage_behind_a_chunk_does_not_keep_it_from_being_read(tmp_path: Path) -> None:
    samples = open_data(written(tmp_path, damaged(0)), CONTRACT)
    assert len(list(samples.read(10, lambda index: index < 5))) == 5


def test_damage_within_what_is_skipped_is_met_on_the_way(tmp_path: Path) -> None:
    samples = open_data(written(tmp_path, damaged(0)), CONTRACT)
    with pytest.raises(InputError, match="near sample 390"):
        list(samples.read(10, lambda index: index == 39))


SOUND = {"npz": npz(x=X, y=Y), "compressed npz": npz(True, x=X, y=Y), "npy": npy(X)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SOUND)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_file_escapes_as_a_traceback(kind: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    content = bytearray(SOUND[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        edges = st.one_of(
            st.integers(0, 200), st.integers(len(content) - 200, len(content) - 1), st.integers(0, len(content) - 1)
        )
        content[data.draw(edges)] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(1, len(content))))
    text = written(tmp_path_factory.getbasetemp(), bytes(content[:cut]), f"damaged.{kind[-3:]}")
    try:
        list(open_data(text, CONTRACT).read(7))
    except InputError as error:
        assert str(error).startswith(text)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(header=st.one_of(st.text("{}()[],:'\"\\\n \tLdescrfotan_shpe<>|f48O-1230x\0", max_size=80), st.text(max_size=40)))
@example(header="{'descr': [('a', '<f4'), 3], 'fortran_order': False, 'shape': (1,)}")
@example(header="{'descr': {'a': 1}, 'fortran_order': False, 'shape': (1,)}")
@example(header="{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}")
@example(header="{1: 2, 'descr': '<f4', (): 3}")
@example(header="{[]: 1}")
def test_no_header_escapes_as_a_traceback(header: str, tmp_path_factory: Any) -> None:
    content = with_header(header.encode("latin1", "replace").decode("latin1"))
    text = written(tmp_path_factory.getbasetemp(), content, "header.npy")
    assert "not a plain .npy, or truncated" in refusal(text)


def test_a_file_replaced_in_use_is_noticed(tmp_path: Path) -> None:
    samples = open_data(written(tmp_path, npz(x=X)), CONTRACT)
    written(tmp_path, npz(x=X[:20]))
    with pytest.raises(InputError, match="has been replaced while it was in use"):
        list(samples.read(5))


def test_a_file_that_vanishes_in_use_is_named(tmp_path: Path) -> None:
    samples = open_data(written(tmp_path, npz(x=X)), CONTRACT)
    (tmp_path / "data.npz").unlink()
    with pytest.raises(InputError, match=r"data\.npz: no such file"):
        list(samples.read(5))


def test_an_npy_cut_in_use_is_noticed(tmp_path: Path) -> None:
    content = npy(frames(1000, 2, 3, 5))
    text = written(tmp_path, content, "x.npy")
    chunks = open_data(text, CONTRACT).read(1)
    next(chunks)
    with Path(text).open("r+b") as file:
        file.truncate(len(content) - 4)
    with pytest.raises(InputError, match=r"x\.npy: not a plain \.npy, or truncated near sample 999: 4 bytes are missing"):
        list(chunks)


NPY_FAULTS: dict[str, tuple[bytes, str]] = {
    "integers": (npy(frames(dtype=np.int16)), "x is int16, not float32"),
    "wrong shape": (npy(frames(4, 1, 3, 5)), "x is [4, 1, 3, 5], but the network takes [N, C, H, W] = [N, 2, 3, 5]"),
    "no samples": (npy(frames(0, 2, 3, 5)), "x holds no samples"),
    "truncated": (
        npy(frames())[:-8],
        "not a plain .npy, or truncated: it should hold 608 bytes, but holds 600; save it with numpy.save",
    ),
    "npz": (npz(x=frames()), "not a plain .npy, or truncated: the magic string is not correct"),
    "Fortran order": (npy(np.asfortranarray(frames())), "x is in Fortran order"),
}


@pytest.mark.parametrize("fault", NPY_FAULTS)
def test_a_wrong_npy_is_named(fault: str, tmp_path: Path) -> None:
    content, words = NPY_FAULTS[fault]
    text = written(tmp_path, content, "x.npy")
    assert f"{text}: {words}" in refusal(text)


LABEL_FAULTS: dict[str, tuple[bytes, str]] = {
    "floats": (npy(np.zeros(4)), "is float64 of shape [4]; labels are integers [N]"),
    "one-hot": (npy(np.zeros((4, 10), int)), "is int64 of shape [4, 10]; labels are integers [N]"),
    "too few": (npy(np.zeros(3, int)), "3 labels, but 4 samples in "),
    "text": (b"1\n2\n3\n4\n", "not a plain .npy, or truncated"),
    "truncated": (npy(np.zeros(4, int))[:-1], "not a plain .npy, or truncated"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_wrong_labels_of_an_npy_are_named(fault: str, tmp_path: Path) -> None:
    content, words = LABEL_FAULTS[fault]
    text, labels = written(tmp_path, npy(frames()), "x.npy"), Path(written(tmp_path, content, "y.npy"))
    assert f"{labels}: {words}" in refusal(text, labels=labels)


def test_missing_labels_of_an_npy_are_named(tmp_path: Path) -> None:
    text = written(tmp_path, npy(frames()), "x.npy")
    assert refusal(text, labels=tmp_path / "y.npy") == f"{tmp_path / 'y.npy'}: no such file; check the path"


def test_an_npy_without_labels_has_none(tmp_path: Path) -> None:
    assert all(chunk.y is None for chunk in open_data(written(tmp_path, npy(X), "x.npy"), CONTRACT).read(5))


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning", "error::ResourceWarning")
def test_files_are_closed_after_a_read_and_after_half_of_one(tmp_path: Path) -> None:
    for name, content in {"data.npz": npz(x=X), "x.npy": npy(X)}.items():
        samples = open_data(written(tmp_path, content, name), CONTRACT)
        before = len(list(Path("/proc/self/fd").iterdir()))
        chunks = samples.read(5)
        next(chunks)
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
        del chunks
        list(samples.read(5))
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nothing_read_shares_memory_with_the_file(tmp_path: Path) -> None:
    text = written(tmp_path, npy(X), "x.npy")
    chunk = next(open_data(text, CONTRACT).read(23))
    chunk.x.zero_()
    assert torch.equal(next(open_data(text, CONTRACT).read(23)).x, torch.from_numpy(X))
