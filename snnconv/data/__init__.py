"""The samples a verification runs on: files, the user's own code or synthetic noise, read in chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snnconv.data import factory, folder, npy, npz
from snnconv.data.fingerprint import Fingerprint, beginning
from snnconv.data.memory import SYNTHETIC_SAMPLES, Data, synthetic
from snnconv.data.samples import Chunk, Preview, Samples, batch, every, first
from snnconv.errors import InputError
from snnconv.hints import factory_meant
from snnconv.ir.program import TimeContract

__all__ = [
    "SYNTHETIC_SAMPLES",
    "Chunk",
    "Data",
    "Fingerprint",
    "Preview",
    "Samples",
    "batch",
    "beginning",
    "every",
    "first",
    "open_data",
    "preview",
    "synthetic",
]


@dataclass(frozen=True)
class Kind:
    """A kind of data: what it is, whether a text names one, and what can be seen of it before it is opened."""

    words: str
    claims: Callable[[str], bool]
    preview: Callable[[str], Preview]


KINDS = (
    Kind("a folder of .npz files", folder.claims, folder.preview),
    Kind("an .npz with x and optionally y", npz.claims, npz.preview),
    Kind("an .npy", npy.claims, npy.preview),
    Kind("package.module:factory", factory.claims, factory.preview),
)


def open_data(text: str, contract: TimeContract, labels: Path | None = None) -> Samples:
    """What `text` names; `labels` is an `.npy` of integers `[N]` that goes with an `.npy` of samples.

    Raises `InputError` if nothing is there, if it does not fit the contract, or if `labels` do not fit the samples.
    """
    return preview(text, labels).open(contract)


def preview(text: str | None, labels: Path | None = None, seed: int = 0) -> Preview:
    """What can be seen of what `text` names before the contract is known; of None, which is seeded noise, nothing can be seen.

    Raises `InputError` if nothing is there, or if `labels` do not go with it.
    """
    if text is None:
        if labels is not None:
            raise InputError(f"{labels}: labels without samples", "name the samples with --data")
        return Preview((), lambda contract: synthetic(contract, seed))
    kind = next((kind for kind in KINDS if kind.claims(text)), None)
    if kind is None:
        raise _unknown(text)
    if labels is None:
        return kind.preview(text)
    if kind.preview is not npy.preview:
        raise InputError(
            f"{labels}: labels in a file of their own go with an .npy, not with {text}", "put y beside x, or give (x, y)"
        )
    return npy.preview(text, labels)


def _unknown(text: str) -> InputError:
    path = Path(text)
    try:
        found = f"unknown suffix '{path.suffix}'" if path.exists() else "no such file or folder"
    except OSError as error:
        found = str(error.strerror)
    hint = factory_meant(text) if ":" in text or path.suffix == ".py" else ""
    *others, last = (kind.words for kind in KINDS)
    return InputError(f"{path}: {found}", f"{hint}data is {', '.join(others)}, or {last}")
