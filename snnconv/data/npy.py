"""An `.npy` of samples, and perhaps another one of their labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from snnconv.data.kind import DataKind
from snnconv.data.place import Place
from snnconv.data.samples import Preview
from snnconv.data.stored import Stored, open_stored
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract


def claims(text: str) -> bool:
    """Whether `text` ends in `.npy`."""
    return text.endswith(".npy")


def preview(text: str, labels: Path | None = None) -> Preview:
    """What the header of the samples says; `labels` is an `.npy` of integers `[N]`. Raises `InputError` if there is no header."""
    return Preview((Place(Path(text)).header().shape[1:],), partial(open_npy, text, labels=labels))


def open_npy(text: str, contract: TimeContract, labels: Path | None = None) -> Stored:
    """The samples of the file, of which only the header is read here. Raises `InputError` if they do not fit."""
    stored = open_stored(Place(Path(text)), contract)
    return stored if labels is None else replace(stored, y=_labels(labels, stored))


def _labels(path: Path, stored: Stored) -> Tensor:
    place = Place(path)
    header = place.header()
    if not header.are_labels:
        raise InputError(f"{path}: is {header.dtype} of shape {list(header.shape)}", "labels are integers [N]")
    if header.shape[0] != stored.length:
        raise InputError(f"{path}: {header.shape[0]} labels, but {stored.length} samples in {stored.place.path}")
    return place.labels()


KIND = DataKind("an .npy", claims, preview, preview_labelled=preview)
