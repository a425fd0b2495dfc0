"""The data a verification runs on: an `.npz` of the user's, or seeded synthetic input."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnconv.errors import InputError
from snnconv.files import readable
from snnconv.program import TimeContract

SYNTHETIC_SAMPLES = 16


@dataclass(frozen=True)
class Data:
    """Samples `x` `[N, C, H, W]` or `[N, T, C, H, W]`, float32, labels `y` `[N]` if there are any, and where they come from."""

    x: Tensor
    y: Tensor | None
    origin: str


def synthetic(contract: TimeContract, seed: int = 0, samples: int = SYNTHETIC_SAMPLES) -> Data:
    """Uniform noise in [0, 1) for static input, 10 % binary events for frames."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(contract.batch_shape(samples), generator=generator)
    if contract.event:
        x = (x < 0.1).float()
    return Data(x, None, f"synthetic noise, seed {seed}: no real data was given")


def read_data(path: Path, contract: TimeContract) -> Data:
    """Read an `.npz` with `x` and, optionally, integer labels `y`. Raises `InputError` for anything that does not fit."""
    readable(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", "data is an .npz with x and optionally y")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an archive")
        with loaded as file:
            arrays: dict[str, np.ndarray] = {name: file[name] for name in ("x", "y", "label") if name in file.files}
            names = file.files
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a plain .npz, or truncated", "save it with numpy.savez(FILE, x=..., y=...)") from error
    if "x" not in arrays:
        raise InputError(f"{path}: holds {', '.join(names) or 'nothing'}, no 'x'", "save it with numpy.savez(FILE, x=..., y=...)")
    x = _samples(path, arrays["x"], contract)
    return Data(x, _labels(path, arrays, len(x)), path.name)


def _samples(path: Path, x: np.ndarray, contract: TimeContract) -> Tensor:
    if x.dtype not in (np.float32, np.float16, np.float64):
        raise InputError(f"{path}: x is {x.dtype}, not float32", "scale it as in training, then save it as float32")
    expected = contract.batch_shape(0)[1:]
    if x.shape[1:] != expected:
        form = "[N, T, C, H, W]" if contract.event else "[N, C, H, W]"
        raise InputError(
            f"{path}: x is {list(x.shape)}, but the network takes {form} = [N, {', '.join(map(str, expected))}]",
            "pass --input-shape C,H,W, --timesteps T or --input static|event to match the data",
        )
    if len(x) == 0:
        raise InputError(f"{path}: x holds no samples")
    if not np.isfinite(x).all():
        raise InputError(f"{path}: x holds NaN or infinite values", "clean the data; a verdict on NaN means nothing")
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(narrow).all():
        raise InputError(f"{path}: x does not fit into float32", "scale it as in training")
    return torch.from_numpy(narrow)


def _labels(path: Path, arrays: dict[str, np.ndarray], samples: int) -> Tensor | None:
    """`y`, or `label` where `y` holds something else than one integer per sample."""
    for name in ("y", "label"):
        labels = arrays.get(name)
        if labels is not None and labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
            if len(labels) != samples:
                raise InputError(f"{path}: {samples} samples in x, but {len(labels)} labels in {name}")
            return torch.from_numpy(labels.astype(np.int64))
    if "y" in arrays and "label" not in arrays:
        y = arrays["y"]
        raise InputError(f"{path}: y is {y.dtype} of shape {list(y.shape)}", "labels are integers [N]; leave y out for none")
    return None
