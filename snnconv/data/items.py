"""Items of the user's code: `x`, `(x, y)` or a mapping with `x` and perhaps `y`, each one sample or a batch of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnconv.data.checks import check_dtype, misshapen, narrowed
from snnconv.data.samples import Block
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from snnconv.user_code import running_user_code


@dataclass(frozen=True)
class Item:
    """Samples as the user gave them: x `[b, ...]`, or `[...]` if it is one sample; y int64 `[b]`, or None without labels."""

    where: str
    x: Tensor | np.ndarray
    y: Tensor | None
    batched: bool

    @property
    def count(self) -> int:
        """How many samples it holds: b."""
        return len(self.x) if self.batched else 1

    def block(self, at: int, stop: int, start: int) -> Block:
        """A copy of the samples `at` to `stop`, the first of which is number `start` of all.

        Raises `InputError` unless finite.
        """
        with running_user_code(self.where, "reading x"):
            part = self.x[at:stop] if self.batched else self.x[None]
            array = part.numpy(force=True) if isinstance(part, Tensor) else part
        return Block(torch.from_numpy(narrowed(self.where, array, start)), None if self.y is None else self.y[at:stop])


def item_of(where: str, given: Any, contract: TimeContract) -> Item:
    """What the user's code gave, as an `Item`; values are not read.

    Raises `InputError` if its type, shape or dtype does not fit.
    """
    with running_user_code(where, "taking it apart"):
        x, y = _parts(where, given)
    if not isinstance(x, Tensor | np.ndarray):
        raise InputError(f"{where}: x is a {type(x).__name__}, not a tensor or array", "give x, (x, y) or {'x': x, 'y': y}")
    check_dtype(where, x.dtype)
    shape, sample = tuple(x.shape), contract.batch_shape(0)[1:]
    if sample not in (shape, shape[1:]):
        raise misshapen(where, shape, contract)
    batched = shape != sample
    return Item(where, x, None if y is None else _labels(where, y, len(x) if batched else 1), batched)


def shapes_of(given: Any) -> tuple[tuple[int, ...], ...]:
    """The shapes that one sample of an item may have. Without a label, the item may be a sample or a batch."""
    try:
        x, y = _parts("", given)
    except InputError:
        return ()
    if not isinstance(x, Tensor | np.ndarray):
        return ()
    shape = tuple(x.shape)
    if y is None:
        return shape, shape[1:]
    labels = tuple(getattr(y, "shape", (len(y),) if isinstance(y, Sequence) else ()))
    return (shape[1:] if labels and labels[:1] == shape[:1] else shape,)


def check_labelled(item: Item, labelled: bool) -> None:
    """Raise `InputError` unless the item has a label if and only if the others have."""
    if (item.y is not None) != labelled:
        what = "has no label, but others have" if labelled else "has a label, but others have none"
        raise InputError(f"{item.where}: {what}", "label all samples or none")


def _parts(where: str, given: Any) -> tuple[Any, Any]:
    """x and y of an item; y is None if there is none. Raises `InputError` if it has another form."""
    if isinstance(given, Mapping):
        if "x" not in given:
            names = ", ".join(map(str, given)) or "nothing"
            raise InputError(f"{where}: holds {names}, no 'x'", "give x, (x, y) or {'x': x, 'y': y}")
        return given["x"], next((given[name] for name in ("y", "label") if given.get(name) is not None), None)
    if isinstance(given, tuple | list):
        if len(given) not in (1, 2):
            raise InputError(f"{where}: is a {type(given).__name__} of {len(given)}", "give x, (x, y) or {'x': x, 'y': y}")
        return given[0], given[1] if len(given) == 2 else None
    return given, None


def _labels(where: str, y: Any, count: int) -> Tensor:
    with running_user_code(where, "reading y", "labels are integers, one for each sample"):
        array = y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)
    if array.size == 0 and count == 0:
        return torch.zeros(0, dtype=torch.int64)
    if array.ndim > 1 or array.size != count or not np.issubdtype(array.dtype, np.integer):
        what = f"{where}: y is {array.dtype} of shape {list(array.shape)} for {count} sample{'s' * (count != 1)}"
        raise InputError(what, "labels are integers, one for each sample; leave y out for none")
    return torch.from_numpy(array.astype(np.int64).reshape(count))
