"""`package.module:factory`: datasets, loaders and generators of the user's own, and their mistakes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from snnconv.data import Samples, open_data
from snnconv.errors import InputError
from tests.data.kinds import CONTRACT, EVENT, WHOLE, N, X, Y

made: Any = None
calls: list[Any] = []


def factory() -> Any:
    """Gives what the test has put into `made`, a fresh one where that is a function."""
    calls.append("made")
    return made() if callable(made) else made


NAME = f"{__name__}:factory"


def opened(value: Any) -> Samples:
    global made
    made = value
    calls.clear()
    return open_data(NAME, CONTRACT)


def refusal(value: Any, size: int = 4) -> str:
    with pytest.raises(InputError) as caught:
        list(opened(value).read(size))
    return str(caught.value)


class Asked(Dataset):
    """Notes which samples are asked for."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        calls.append(index)
        return WHOLE.x[index], int(Y[index])


def test_a_dataset_is_asked_for_no_sample_that_is_not_wanted() -> None:
    samples = opened(Asked())
    calls.clear()
    assert [chunk.index for chunk in samples.read(5, {1, 4}.__contains__)] == [1, 4]
    assert calls == [5, 6, 7, 8, 9, 20, 21, 22]


def test_a_dataset_is_made_once() -> None:
    samples = opened(Asked)
    for _ in range(3):
        list(samples.read(5))
    assert calls.count("made") == 1


def test_the_factory_is_called_anew_for_each_read_of_an_iterable_but_the_first() -> None:
    samples = opened(lambda: iter(X))
    assert len(calls) == 1
    for _ in range(3):
        assert len(list(samples.read(5))) == 5
    assert len(calls) == 3


def test_a_loader_with_workers_is_read() -> None:
    chunks = opened(lambda: DataLoader(Asked(), batch_size=3, num_workers=1)).read(8)
    assert torch.equal(torch.cat([chunk.x for chunk in chunks]), WHOLE.x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_of_any_float_become_float32(dtype: torch.dtype) -> None:
    x = WHOLE.x.to(dtype).requires_grad_()
    (chunk,) = opened([x, x[0]]).read(50)
    assert chunk.x.dtype == torch.float32
    assert torch.equal(chunk.x, torch.cat([x, x[:1]]).float())
    assert not chunk.x.requires_grad


def test_big_endian_and_strided_arrays_are_read() -> None:
    wide = np.random.default_rng(0).random((5, 3, 2, 4)).astype(">f8")
    (chunk,) = opened([wide.transpose(3, 2, 1, 0)]).read(9)
    assert chunk.x.is_contiguous()
    assert np.array_equal(chunk.x, wide.transpose(3, 2, 1, 0).astype(np.float32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_a_gpu_are_moved() -> None:
    (chunk,) = opened([(WHOLE.x.cuda(), WHOLE.y.cuda())]).read(50)
    assert (chunk.x.device.type, chunk.y.device.type) == ("cpu", "cpu")


@pytest.mark.parametrize("whole", [X, WHOLE.x])
def test_a_whole_array_is_a_dataset_without_labels(whole: Any) -> None:
    samples = opened(lambda: whole)
    assert samples.length == N
    assert [chunk.y for chunk in samples.read(20)] == [None, None]


@pytest.mark.parametrize(
    "items",
    [[(x,) for x in X], [[x, None] for x in X], [{"x": x} for x in X], [{"x": x, "y": None, "id": 3} for x in X]],
    ids=["alone in a tuple", "label None", "mapping", "mapping with None"],
)
def test_items_without_labels_have_none(items: list[Any]) -> None:
    assert [chunk.y for chunk in opened(items).read(20)] == [None, None]


@pytest.mark.parametrize(
    "label",
    [3, np.int8(3), np.array(3), np.array([3]), torch.tensor(3), torch.tensor([3], dtype=torch.uint8)],
    ids=["int", "int8", "array", "array [1]", "tensor", "tensor [1]"],
)
def test_a_label_is_any_integer(label: Any) -> None:
    (chunk,) = opened([(X[0], label)]).read(2)
    assert chunk.y is not None
    assert chunk.y.tolist() == [3]
    assert chunk.y.dtype == torch.int64


@pytest.mark.parametrize(
    "labels", [[1, 2], (torch.tensor(1), torch.tensor(2)), np.array([1, 2], ">i2"), torch.tensor([1, 2], dtype=torch.int32)]
)
def test_labels_of_a_batch_are_any_integers(labels: Any) -> None:
    (chunk,) = opened([(X[:2], labels)]).read(2)
    assert chunk.y is not None
    assert chunk.y.tolist() == [1, 2]


def test_y_goes_before_label() -> None:
    (chunk,) = opened([{"x": X[0], "label": 1, "y": 2}, {"x": X[1], "label": 1, "y": None}]).read(2)
    assert chunk.y is not None
    assert chunk.y.tolist() == [2, 1]


def test_batches_and_samples_of_frames_are_told_apart() -> None:
    global made
    x = torch.rand(3, 4, 2, 3, 5)
    made = lambda: iter([x[0], x[1:]])  # noqa: E731
    (chunk,) = open_data(NAME, EVENT).read(4)
    assert torch.equal(chunk.x, x)


def test_later_batches_do_not_change_chunks_already_given() -> None:
    batch = torch.zeros(2, 2, 3, 5)

    def items() -> Iterator[torch.Tensor]:
        for k in range(3):
            yield batch.fill_(k)

    chunks = list(opened(items).read(1))
    assert [chunk.x.unique().tolist() for chunk in chunks] == [[0], [0], [1], [1], [2], [2]]


def raising(error: BaseException, after: int = 0) -> Any:
    """A generator that gives `after` samples and then fails."""

    def items() -> Iterator[np.ndarray]:
        yield from X[:after]
        raise error

    return items


class Faulty(Asked):
    def __init__(self, bad: dict[int, Any], length: Any = N) -> None:
        self.bad, self.length = bad, length

    def __len__(self) -> int:
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __getitem__(self, index: int) -> Any:
        found = self.bad.get(index, (X[index], 0))
        if isinstance(found, BaseException):
            raise found
        return found


class Uniterable:
    def __iter__(self) -> Iterator[Any]:
        raise OSError("no such bucket")


def nan() -> np.ndarray:
    x = X.copy()
    x[6, 0, 0, 0] = np.nan
    return x


PARTS = "; give x, (x, y) or {'x': x, 'y': y}"
RETURNS = "; it must return a Dataset, or an iterable, of x, (x, y) or {'x': x, 'y': y}"
LABELS = "; labels are integers, one for each sample; leave y out for none"

FAULTS: dict[str, tuple[Any, str]] = {
    "nothing returned": (None, ": returns a NoneType" + RETURNS),
    "a mapping returned": ({"x": X}, ": returns a dict" + RETURNS),
    "a path returned": ("data.npz", ": returns a str" + RETURNS),
    "an empty list": ([], ": holds no samples"),
    "an empty generator": (lambda: iter([]), ": holds no samples"),
    "empty batches": (lambda: iter([X[:0], X[:0]]), ": holds no samples"),
    "a length that fails": (Faulty({}, OSError("gone")), ": its length fails: OSError: gone"),
    "an iterator that fails": (Uniterable(), ": iterating over it fails: OSError: no such bucket"),
    "a generator that fails at once": (raising(OSError("gone")), ": item 0 fails: OSError: gone"),
    "a generator that fails later": (raising(OSError("gone"), 9), ": item 9 fails: OSError: gone"),
    "a generator that exits": (raising(SystemExit(3), 2), ": item 2 fails: SystemExit: 3"),
    "a sample that fails at once": (Faulty({0: KeyError("k")}), ": item 0 fails: KeyError: 'k'"),
    "a sample that fails later": (Faulty({7: KeyError("k")}), ": item 7 fails: KeyError: 'k'"),
    "a length too long": (Faulty({}, N + 1), ": item 23 fails: IndexError: index 23 is out of bounds"),
    "a list for x": ([[[0.5]]], ": item 0: x is a list, not a tensor or array" + PARTS),
    "text for x": (["a"], ": item 0: x is a str, not a tensor or array" + PARTS),
    "three parts": ([(X[0], 1, 2)], ": item 0: is a tuple of 3" + PARTS),
    "no parts": ([()], ": item 0: is a tuple of 0" + PARTS),
    "no x": ([{"image": X[0], "y": 1}], ": item 0: holds image, y, no 'x'" + PARTS),
    "an empty mapping": ([{}], ": item 0: holds nothing, no 'x'" + PARTS),
    "bytes": ([X[0].astype(np.uint8)], ": item 0: x is uint8, not float32; scale it as in training"),
    "bytes in a tensor": (
        [torch.zeros(2, 3, 5, dtype=torch.uint8)],
        ": item 0: x is uint8, not float32; scale it as in training",
    ),
    "brain floats": ([WHOLE.x.bfloat16()], ": item 0: x is bfloat16, not float32"),
    "a wrong shape": (
        [X[0, :1]],
        ": item 0: x is [1, 3, 5], but the network takes [N, C, H, W] = [N, 2, 3, 5]; pass --input-shape",
    ),
    "a wrong shape later": (lambda: iter([X, X[0, :1]]), ": item 1: x is [1, 3, 5], but the network takes"),
    "a sparse tensor": ([WHOLE.x.to_sparse()], ": item 0: reading x fails: "),
    "NaN": (nan, ": item 6: x holds NaN or infinite values in sample 6; clean the data"),
    "NaN in a batch": (lambda: iter([X[:5], nan()]), ": item 1: x holds NaN or infinite values in sample 11; clean the data"),
    "too large": ([X, np.full((2, 3, 5), 1e300)], ": item 1: x does not fit into float32 in sample 23; scale it as in training"),
    "a label of text": ([(X[0], "cat")], ": item 0: y is <U3 of shape [] for 1 sample" + LABELS),
    "a label of floats": ([(X[0], 1.0)], ": item 0: y is float64 of shape [] for 1 sample" + LABELS),
    "a label of truth": ([(X[0], True)], ": item 0: y is bool of shape [] for 1 sample" + LABELS),
    "a label one-hot": ([(X[0], torch.zeros(10, dtype=int))], ": item 0: y is int64 of shape [10] for 1 sample" + LABELS),
    "labels one-hot": ([(X[:2], np.zeros((2, 1), int))], ": item 0: y is int64 of shape [2, 1] for 2 samples" + LABELS),
    "too few labels": ([(X[:3], [1, 2])], ": item 0: y is int64 of shape [2] for 3 samples" + LABELS),
    "ragged labels": ([(X[:2], [[1], [1, 2]])], ": item 0: reading y fails: ValueError: "),
    "a label missing": (Faulty({7: X[7]}), ": item 7: has no label, but others have; label all samples or none"),
    "a label too many": (Faulty({k: X[k] for k in range(N - 1)}), ": item 22: has a label, but others have none; label all"),
    "a label missing from a batch": (lambda: iter([(X, Y), X]), ": item 1: has no label, but others have; label all"),
    "a label too many in a batch": (lambda: iter([X, (X, Y)]), ": item 1: has a label, but others have none; label all"),
    "a batch among samples": (Faulty({7: (X, Y)}), ": item 7: is a batch, but item 0 is one sample; give one sample for each"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_named_with_the_factory_and_the_item(fault: str) -> None:
    value, words = FAULTS[fault]
    assert refusal(value).startswith(NAME + words)


def test_what_a_user_raises_is_chained() -> None:
    with pytest.raises(InputError) as caught:
        list(opened(raising(OSError("gone"), 2)).read(4))
    assert isinstance(caught.value.__cause__, OSError)


def test_ctrl_c_in_the_users_code_is_not_a_mistake() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(opened(raising(KeyboardInterrupt(), 2)).read(4))


@pytest.mark.parametrize("fault", ["a wrong shape", "bytes", "an empty generator", "a sample that fails at once", "three parts"])
def test_mistakes_in_the_first_item_are_found_at_opening(fault: str) -> None:
    with pytest.raises(InputError, match=re.escape(NAME)):
        opened(FAULTS[fault][0])


def fails() -> Any:
    raise LookupError("no data today")


def test_a_factory_that_fails_is_named() -> None:
    words = f"{__name__}:fails: calling it fails: LookupError: no data today, in test_factory.py line"
    with pytest.raises(InputError, match=words):
        open_data(f"{__name__}:fails", CONTRACT)


_BROKEN = "importing snnconv_test_broken fails: ZeroDivisionError: division by zero, in snnconv_test_broken.py line 1 (1 / 0)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "no_such_module:factory",
            "cannot import no_such_module: No module named 'no_such_module'; run beside it, or install it",
        ),
        ("tests.data.kinds:nothing", "tests.data.kinds has no 'nothing'; name a function of it"),
        ("tests.data.kinds:N", "calling it fails: TypeError: 'int' object is not callable; it takes no arguments"),
        ("snnconv_test_broken:factory", _BROKEN),
    ],
)
def test_a_factory_that_cannot_be_had_is_named(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snnconv_test_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        open_data(name, CONTRACT)
    assert str(caught.value) == f"{name}: {words}"


def test_a_module_in_the_present_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snnconv_test_local.py").write_text("from tests.data.kinds import dataset as mine\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    assert open_data("snnconv_test_local:mine", CONTRACT).length == N
