"""Memory does not grow with the number of samples."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from snnconv.data import Samples, open_data
from snnconv.ir.program import TimeContract

CONTRACT = TimeContract(4, (1, 28, 28))
N = 20_000
WHOLE = N * 28 * 28 * 4
BATCH = np.zeros((500, 1, 28, 28), np.float32)


def batches() -> Iterator[np.ndarray]:
    return (BATCH.copy() for _ in range(N // 500))


class Zeros:
    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> np.ndarray:
        if index >= N:
            raise IndexError(index)
        return BATCH[0]


def zeros() -> np.ndarray:
    return np.zeros((N, 1, 28, 28), np.float32)


def stored(save: Callable[..., None], name: str) -> Callable[[Path], Samples]:
    def make(folder: Path) -> Samples:
        save(folder / name, **({"arr": zeros()} if name.endswith("npy") else {"x": zeros()}))
        return open_data(str(folder / name), CONTRACT)

    return make


def folder_of_npz(folder: Path) -> Samples:
    for k in range(4):
        np.savez_compressed(folder / f"{k}.npz", x=zeros()[: N // 4])
    return open_data(str(folder), CONTRACT)


KINDS: dict[str, Callable[[Path], Samples]] = {
    "npz": stored(np.savez, "data.npz"),
    "compressed npz": stored(np.savez_compressed, "data.npz"),
    "npy": stored(np.save, "x.npy"),
    "folder": folder_of_npz,
    "dataset": lambda folder: open_data(f"{__name__}:Zeros", CONTRACT),
    "generator": lambda folder: open_data(f"{__name__}:batches", CONTRACT),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("wanted", [lambda index: True, lambda index: index == 199, lambda index: index % 50 == 49])
@pytest.mark.parametrize("kind", KINDS)
def test_reading_holds_a_few_chunks_at_most(kind: str, wanted: Callable[[int], bool], tmp_path: Path) -> None:
    samples = KINDS[kind](tmp_path)
    tracemalloc.start()
    try:
        read = sum(len(chunk.x) for chunk in samples.read(100, wanted))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == 100 * sum(map(wanted, range(200)))
    assert peak < 8 * 2**20 < WHOLE / 7
