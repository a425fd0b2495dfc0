"""Whether a network can compute with a tensor: finite floats that fit into float32, and no negative variance."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from snnconv.errors import InputError
from snnconv.files import reading
from snnconv.sources.checkpoint.matching import TRACKED
from snnconv.sources.checkpoint.values import Stored

DAMAGED = "pass a .pth, .pt or .safetensors file and check that it was copied completely"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32)


def sound(path: Path, key: str, value: Stored, notes: list[str]) -> Tensor:
    """The tensor as float32; a whole number of one element, a counter or a choice, as it is.

    A conversion is added to `notes`. Raises `InputError` if a network cannot run with it, or the file is damaged there.
    """
    if value.load is None:
        raise _no_floats(path, key, value)
    with reading(path, "is damaged", DAMAGED):
        tensor = value.load().detach()
    if key.endswith(TRACKED) or (tensor.dtype in _INTEGERS and tensor.dim() == 0):
        return tensor
    if tensor.dtype not in _FLOATS:
        raise _no_floats(path, key, value)
    if not bool(tensor.isfinite().all()):
        count = int((~tensor.isfinite()).sum())
        raise InputError(f"{path}: '{key}' holds {count} NaN or infinite values", "take an earlier checkpoint")
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise InputError(f"{path}: '{key}' holds a negative variance ({tensor.min().item():g})", "the checkpoint is damaged")
    if tensor.dtype is torch.float32:
        return tensor.contiguous()
    notes.append(f"{value.kind} tensors converted to float32")
    converted = tensor.to(torch.float32).contiguous()
    if not bool(converted.isfinite().all()):
        raise InputError(f"{path}: '{key}' does not fit into float32", "snnconv computes in float32")
    return converted


def _no_floats(path: Path, key: str, value: Stored) -> InputError:
    return InputError(
        f"{path}: '{key}' holds {value.kind} values, not floats", "convert the unquantised, floating-point checkpoint"
    )
