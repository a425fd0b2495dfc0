"""The same 23 samples in every kind that `open_data` takes, and the factories that give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from snnconv.data import Data, Samples, open_data
from snnconv.ir.program import TimeContract

CONTRACT = TimeContract(4, (2, 3, 5))
EVENT = TimeContract(4, (2, 3, 5), event=True)
N = 23

X = np.random.default_rng(0).random((N, 2, 3, 5), np.float32)
Y = np.random.default_rng(1).integers(0, 10, N)
WHOLE = Data(torch.from_numpy(X), torch.from_numpy(Y), "memory")


def dataset() -> TensorDataset:
    return TensorDataset(WHOLE.x, WHOLE.y)


def loader() -> DataLoader:
    return DataLoader(dataset(), batch_size=4)


def generator() -> Iterator[tuple[Tensor, int]]:
    yield from ((WHOLE.x[k], int(Y[k])) for k in range(N))


def batches() -> list[dict[str, Any]]:
    return [{"x": X[:7], "label": Y[:7]}, {"x": X[7:7], "label": []}, {"x": X[7:8], "y": Y[7:8]}, {"x": X[8:], "y": list(Y[8:])}]


def mixed() -> Iterator[tuple[Tensor, Tensor]]:
    yield WHOLE.x[0], torch.tensor(Y[0])
    yield WHOLE.x[1:20], torch.from_numpy(Y[1:20])
    yield WHOLE.x[20], torch.from_numpy(Y[20:21])
    yield WHOLE.x[21:], torch.from_numpy(Y[21:])


def one_buffer() -> Iterator[tuple[Tensor, np.ndarray]]:
    """Every item lies in the same memory, as fast loaders do it."""
    x, y = torch.empty(1, 2, 3, 5), np.empty(1, np.int64)
    for k in range(N):
        x[0], y[0] = WHOLE.x[k], Y[k]
        yield x, y


class Stream(IterableDataset):
    """Has a length, and inherits a `__getitem__` that only raises."""

    def __len__(self) -> int:
        return N

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return generator()


def npz(folder: Path) -> Samples:
    np.savez(folder / "data.npz", x=X, y=Y)
    return open_data(str(folder / "data.npz"), CONTRACT)


def compressed(folder: Path) -> Samples:
    np.savez_compressed(folder / "data.npz", x=X.astype(">f8"), label=Y.astype(np.uint8))
    return open_data(str(folder / "data.npz"), CONTRACT)


def npy(folder: Path) -> Samples:
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y.astype(">i4"))
    return open_data(str(folder / "x.npy"), CONTRACT, folder / "y.npy")


def several(folder: Path) -> Samples:
    for name, part in {"b": slice(5, 6), "a": slice(0, 5), "d": slice(17, N), "c": slice(6, 17)}.items():
        np.savez_compressed(folder / f"{name}.npz", x=X[part], y=Y[part])
    return open_data(str(folder), CONTRACT)


def factory(name: str) -> Callable[[Path], Samples]:
    return lambda folder: open_data(f"{__name__}:{name}", CONTRACT)


KINDS: dict[str, Callable[[Path], Samples]] = {
    "memory": lambda folder: WHOLE,
    "npz": npz,
    "compressed npz": compressed,
    "npy": npy,
    "folder": several,
    **{name: factory(name) for name in ("dataset", "loader", "generator", "batches", "mixed", "one_buffer", "Stream")},
}
