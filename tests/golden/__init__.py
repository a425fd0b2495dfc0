"""Runs of the MPBN authors' own code, one for each of their architectures: what they computed, and from which weights.

Each `official/NAME.npz` holds the input `x` (`[B, C, H, W]`, or frames `[B, T, C, H, W]` if `event`), the logits `y` `[B, K]`,
the spikes of every neuron, and the layout of the state-dict in the authors' order. The weights are not stored: tensor number i
is drawn from `default_rng([seed, i])`. `record.py` wrote them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

OFFICIAL = Path(__file__).parent / "official"
NAMES = sorted(path.stem for path in OFFICIAL.glob("*.npz"))


@dataclass(frozen=True)
class Golden:
    """A run of the authors' code: keys and shapes as they save them, spikes `[T, B, C, H, W]` by neuron."""

    arch: str
    timesteps: int
    event: bool
    seed: int
    layout: dict[str, tuple[int, ...]]
    x: Tensor
    y: Tensor
    spikes: dict[str, Tensor]

    def state(self) -> dict[str, Tensor]:
        return weights(self.layout, self.seed)


def read(name: str) -> Golden:
    with np.load(OFFICIAL / f"{name}.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        packed = {key.removeprefix("spikes/"): file[key] for key in file.files if key.startswith("spikes/")}
        x, y = torch.from_numpy(file["x"].astype(np.float32)), torch.from_numpy(file["y"])
    layout = {key: tuple(shape) for key, shape in about.pop("layout").items()}
    shapes = about.pop("neurons")
    spikes = {neuron: _unpacked(bits, shapes[neuron]) for neuron, bits in packed.items()}
    return Golden(**about, layout=layout, x=x, y=y, spikes=spikes)


def _unpacked(bits: np.ndarray, shape: list[int]) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(np.float32))


_RANGES = {"weight": (-0.2, 1.4), "bias": (-0.2, 0.6), "running_mean": (-0.3, 0.3), "running_var": (0.5, 1.5)}


def weights(layout: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Weights with which the authors' networks neither fall silent nor fire throughout, some gammas negative."""
    return {key: _drawn(key, shape, np.random.default_rng([seed, i])) for i, (key, shape) in enumerate(layout.items())}


def _drawn(key: str, shape: tuple[int, ...], generator: np.random.Generator) -> Tensor:
    if not shape:
        return torch.tensor(1)
    if len(shape) > 1:
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32) * scale)
    low, high = _RANGES[key.rpartition(".")[2]]
    return torch.from_numpy(generator.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low))
