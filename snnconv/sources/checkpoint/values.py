"""What a checkpoint holds besides plain data: tensors whose values are not read yet, and inert records of anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Path = tuple[str, ...]
"""The keys, from the outermost in, that lead to a value."""


@dataclass(frozen=True)
class Stored:
    """A tensor of a file.

    Attributes:
        shape: its shape.
        kind: what its values are, as in "float32"; "sparse", or "no" where the file leaves them out.
        load: reads it; raises `ValueError` if the file is damaged. None if it is of a kind that is never read.
        numpy: whether it is an array of numpy.
    """

    shape: tuple[int, ...]
    kind: str
    load: Callable[[], Tensor] | None
    numpy: bool = False

    @property
    def nbytes(self) -> int:
        """How many bytes its values take, as far as they can be read."""
        return torch.Size(self.shape).numel() * getattr(torch, self.kind).itemsize if self.load else 0


@dataclass(frozen=True)
class Inert:
    """Something that only code could make: it stays a record.

    Attributes:
        name: of its class, or of the function that would make it.
        is_module: whether it is a network, pickled whole.
    """

    name: str
    is_module: bool = False


def stored(tensor: Tensor) -> Stored:
    """A tensor that has been read already."""
    return Stored(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), lambda: tensor)


def walk(value: Any) -> Iterator[tuple[Path, Any]]:
    """Everything in the tree of a checkpoint, `value` first, the outer before the inner, each object once, with its path."""
    level: list[tuple[Path, Any]] = [((), value)]
    seen: set[int] = set()
    while level:
        below: list[tuple[Path, Any]] = []
        for path, inner in level:
            yield path, inner
            parts = inner.items() if isinstance(inner, Mapping) else enumerate(inner) if isinstance(inner, list | tuple) else ()
            for key, part in parts:
                if not isinstance(part, Mapping | list | tuple):
                    below.append(((*path, str(key)), part))
                elif id(part) not in seen:
                    seen.add(id(part))
                    below.append(((*path, str(key)), part))
        level = below
