"""Checks on samples from any source. `where` names their place, a file or a factory, in messages."""

from __future__ import annotations

import numpy as np
import torch

from snnconv.errors import InputError
from snnconv.ir.program import TimeContract

_FLOATS = ("float16", "float32", "float64")


def check_dtype(where: str, dtype: np.dtype | torch.dtype) -> None:
    """Raise `InputError` if samples of `dtype` are no floats: how to scale them is not known."""
    name = dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")
    if name not in _FLOATS:
        shown = str(dtype).removeprefix("torch.")
        raise InputError(f"{where}: x is {shown}, not float32", "scale it as in training, then make it float32")


def misshapen(where: str, shape: tuple[int, ...], contract: TimeContract) -> InputError:
    """The error for an x of a `shape` that the network does not take."""
    frame = ", C, H, W" if len(contract.input_shape) == 3 else ", ..."
    form = f"[N, T{frame}]" if contract.event else f"[N{frame}]"
    sizes = ", ".join(map(str, contract.batch_shape(0)[1:]))
    return InputError(
        f"{where}: x is {list(shape)}, but the network takes {form} = [N, {sizes}]",
        "pass --input-shape C,H,W, --timesteps T or --input static|event to match the data (to fold, if the source is a .pt2)",
    )


def narrowed(where: str, x: np.ndarray, start: int) -> np.ndarray:
    """A float32 copy of `x` `[b, ...]`, whose first sample is number `start`.

    Raises `InputError` unless every value is finite.
    """
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32, order="C")
    if np.isfinite(narrow).all():
        return narrow
    bad = int(np.isfinite(narrow).reshape(len(narrow), -1).all(1).argmin())
    if np.isfinite(x[bad]).all():
        raise InputError(f"{where}: x does not fit into float32 in sample {start + bad}", "scale it as in training")
    raise InputError(
        f"{where}: x holds NaN or infinite values in sample {start + bad}", "clean the data; a verdict on NaN means nothing"
    )
