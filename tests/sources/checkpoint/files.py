"""Checkpoint files of a small network, and what is loaded from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from snnconv.errors import InputError
from snnconv.sources import SourceOptions
from snnconv.sources.checkpoint import Fitted, Wanted, fit, read_checkpoint, take
from tests.networks import per_channel

State = dict[str, Tensor]


def state(scale: float = 1.0) -> State:
    """The weights of the network, times `scale`, so that sets can be told apart."""
    return {key: value * scale if value.is_floating_point() else value for key, value in per_channel().state_dict().items()}


def saved(folder: Path, value: object, name: str = "net.pth") -> Path:
    path = folder / name
    torch.save(value, path)
    return path


def loaded(path: Path, wanted: Mapping[str, Tensor] | Wanted | None = None, **options: object) -> Fitted:
    """The tensors of the network of `state`, or of another that wants other keys. Raises `InputError` if they do not fit."""
    if not isinstance(wanted, Wanted):
        wanted = Wanted({key: tuple(value.shape) for key, value in (state() if wanted is None else wanted).items()})
    checkpoint, given = read_checkpoint(path), SourceOptions(**options)
    found = fit(checkpoint, wanted, given)
    if found.problem:
        raise InputError(found.problem, found.todo)
    return take(checkpoint, found, given)


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
