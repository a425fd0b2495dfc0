"""Reading a checkpoint file into named float32 tensors, without running code.

A `.safetensors` is read by safetensors, anything else by `torch.load(weights_only=True)`. The state-dict may be nested under
`state_dict`, `model`, `net` or `model_state_dict`, its keys may begin with `module.`, and it may be in half precision.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnconv.claims import check_total
from snnconv.errors import InputError, Refused
from snnconv.files import Content, read, reading

NESTS = ("state_dict", "model", "net", "model_state_dict")
PREFIX = "module."
_DEEPEST = 8
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32)


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        path: the file.
        sha256: of the bytes that the tensors were read from, in hex.
        tensors: by their keys, floats as float32.
        notes: in words, what was changed in reading.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check a state-dict.

    Raises `InputError` for anything but a sound state-dict, and `Refused` for a pickle that would run code when loaded.
    """
    if path.suffix in _ARTIFACTS:
        raise InputError(f"{path}: an artifact, no checkpoint", "name the file that it was made from")
    content = read(path)
    loaded = _read(content)
    nested, where = _unnest(loaded)
    if not isinstance(nested, Mapping) or not any(isinstance(v, Tensor) for v in nested.values()):
        raise InputError(
            f"{path}: holds {_describe(loaded)}, not a state-dict",
            "save one with torch.save(model.state_dict(), FILE) or as .safetensors",
        )
    notes = [f"state-dict found under {where}"] if where else []
    tensors = _strip_prefix({str(k): v for k, v in nested.items() if isinstance(v, Tensor)}, notes)
    with reading(path, "is damaged", _EXPECTED):
        check_total(sum(v.numel() * v.itemsize for v in tensors.values()), len(content.data))
    sound = {k: _sound(path, k, v, notes) for k, v in tensors.items()}
    return Checkpoint(path, content.sha256, sound, tuple(dict.fromkeys(notes)))


TRACKED = "num_batches_tracked"


def misfit(tensors: Mapping[str, Tensor], layout: Mapping[str, tuple[int, ...]]) -> str:
    """In words, how the keys and shapes of `tensors` differ from `layout`; empty if they do not.

    Counters of training batches are not used at inference and may be absent.
    """
    missing = [key for key in layout if key not in tensors and not key.endswith(TRACKED)]
    extra = [key for key in tensors if key not in layout and not key.endswith(TRACKED)]
    unlike = [key for key, shape in layout.items() if key in tensors and tuple(tensors[key].shape) != shape]
    parts = [f"{word} {_first(keys)}" for word, keys in (("missing", missing), ("unexpected", extra)) if keys]
    parts += [f"'{key}' is {list(tensors[key].shape)}, not {list(layout[key])}" for key in unlike[:1]]
    return "; ".join(parts)


def _first(keys: list[str]) -> str:
    shown = ", ".join(f"'{key}'" for key in keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown


def _read(content: Content) -> Any:
    path = content.path
    if path.suffix == ".safetensors":
        return _read_safetensors(content)
    with reading(path, _UNREADABLE, _EXPECTED):
        _check_sizes(content.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content.data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)|unsupported class (\S+)|unrecognized function (\S+)|(Can only build)", str(error))
        if wanted:
            name = next((group for group in wanted.groups()[:3] if group), "an object of its own")
            raise Refused(
                f"{path}: loading it would run code ({name}); snnconv never unpickles code",
                "save only the weights: torch.save(model.state_dict(), FILE)",
            ) from error
        raise InputError(f"{path}: not a checkpoint (neither a torch file nor a pickle)", _EXPECTED) from error
    except Exception as error:  # a damaged file makes torch's reader raise errors of any type
        raise InputError(f"{path}: {_UNREADABLE}", _EXPECTED) from error


def _check_sizes(data: bytes) -> None:
    """Raise `ValueError` for a compressed archive of far more than the file holds: torch unpacks all of it."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_total(sum(member.file_size for member in archive.infolist()), len(data))


_UNREADABLE = "cannot be read as a torch checkpoint, it may be truncated"
_ARTIFACTS = (".onnx", ".ts", ".torchscript")
_EXPECTED = "pass a .pth, .pt or .safetensors file and check that it was copied completely"


def _read_safetensors(content: Content) -> Any:
    from safetensors.torch import load

    with reading(content.path, "not a safetensors file, or truncated", _EXPECTED):
        return load(content.data)


def _unnest(loaded: Any) -> tuple[Any, str]:
    """The innermost state-dict in what was loaded, and the keys that lead to it, in words."""
    where: list[str] = []
    while isinstance(loaded, Mapping) and len(where) < _DEEPEST:
        inner = next((k for k in NESTS if isinstance(loaded.get(k), Mapping)), None)
        if inner is None:
            break
        where.append(f"'{inner}'")
        loaded = loaded[inner]
    return loaded, " in ".join(reversed(where))


def _strip_prefix(tensors: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    while tensors and all(key.startswith(PREFIX) for key in tensors):
        tensors = {key.removeprefix(PREFIX): value for key, value in tensors.items()}
        notes.append(f"prefix '{PREFIX}' dropped from every key")
    return tensors


def _sound(path: Path, key: str, value: Tensor, notes: list[str]) -> Tensor:
    """The tensor as float32. Raises `InputError` if a network cannot run with it."""
    if key.endswith(TRACKED) or (value.dtype in _INTEGERS and value.dim() == 0):
        return value  # a counter or a choice, no weight
    if value.layout is not torch.strided or value.is_meta or value.dtype not in _FLOATS:
        raise InputError(
            f"{path}: '{key}' holds {_values_of(value)} values, not floats", "convert the unquantised, floating-point checkpoint"
        )
    if not bool(value.isfinite().all()):
        count = int((~value.isfinite()).sum())
        raise InputError(f"{path}: '{key}' holds {count} NaN or infinite values", "take an earlier checkpoint")
    if key.endswith("running_var") and bool((value < 0).any()):
        raise InputError(f"{path}: '{key}' holds a negative variance ({value.min().item():g})", "the checkpoint is damaged")
    if value.dtype is not torch.float32:
        notes.append(f"{str(value.dtype).removeprefix('torch.')} tensors converted to float32")
    converted = value.detach().to(torch.float32).contiguous()
    if not bool(converted.isfinite().all()):
        raise InputError(f"{path}: '{key}' does not fit into float32", "snnconv computes in float32")
    return converted


def _values_of(value: Tensor) -> str:
    if value.is_meta:
        return "no"
    return "sparse" if value.layout is not torch.strided else str(value.dtype).removeprefix("torch.")


def _describe(loaded: Any) -> str:
    if isinstance(loaded, Tensor):
        return f"one tensor of shape {list(loaded.shape)}"
    if isinstance(loaded, Mapping):
        keys = ", ".join(repr(k) for k in list(loaded)[:4])
        return f"a dict without tensors (keys {keys})" if loaded else "an empty dict"
    return f"a {type(loaded).__name__}"
