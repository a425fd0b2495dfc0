"""An `.npz` with samples `x` and perhaps integer labels `y` or `label`, as `numpy.savez` and `savez_compressed` write it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from snnconv.data.kind import DataKind
from snnconv.data.place import Place
from snnconv.data.samples import Preview
from snnconv.data.stored import Stored, open_stored
from snnconv.errors import InputError
from snnconv.files import readable
from snnconv.ir.program import TimeContract


def claims(text: str) -> bool:
    """Whether `text` ends in `.npz`."""
    return text.endswith(".npz")


def preview(text: str) -> Preview:
    """What the header of x says. Raises `InputError` if there is no x."""
    _names(Path(text))
    return Preview((Place(Path(text), "x.npy").header().shape[1:],), partial(open_npz, text))


def open_npz(text: str, contract: TimeContract) -> Stored:
    """The samples of the file, of which only headers and labels are read here. Raises `InputError` if they do not fit."""
    path = Path(text)
    names = _names(path)
    stored = open_stored(Place(path, "x.npy"), contract)
    places: dict[str, Place] = {name: Place(path, f"{name}.npy") for name in ("y", "label") if name in names}
    return replace(stored, y=_labels(places, path, stored.length))


def _names(path: Path) -> list[str]:
    """The names of the arrays in the file. Raises `InputError` if x is not among them."""
    readable(path)
    with Place(path, "x.npy").reading(), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    if "x" not in names:
        raise InputError(f"{path}: holds {', '.join(names) or 'nothing'}, no 'x'", "save it with numpy.savez(FILE, x=..., y=...)")
    return names


def _labels(places: dict[str, Place], path: Path, samples: int) -> Tensor | None:
    """The labels `[N]`: `y`, or `label` if `y` is not one integer per sample. Raises `InputError` if their number is wrong."""
    headers = {name: place.header() for name, place in places.items()}
    for name, header in headers.items():
        if header.are_labels:
            if header.shape[0] != samples:
                raise InputError(f"{path}: {samples} samples in x, but {header.shape[0]} labels in {name}")
            return places[name].labels()
    if list(headers) == ["y"]:
        y = headers["y"]
        raise InputError(f"{path}: y is {y.dtype} of shape {list(y.shape)}", "labels are integers [N]; leave y out for none")
    return None


KIND = DataKind("an .npz with x and optionally y", claims, preview)
