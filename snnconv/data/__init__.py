"""The samples that a verification runs on: files, the user's own code or synthetic noise, read in chunks.

A new kind of data is one file with a `DataKind`, one line in `KINDS` and one test; another package adds its own under the entry
point group `snnconv.data`.
"""

from __future__ import annotations

from pathlib import Path

from snnconv.data.fingerprint import Fingerprint, beginning
from snnconv.data.kind import DataKind
from snnconv.data.memory import SYNTHETIC_SAMPLES, Data, synthetic
from snnconv.data.samples import Chunk, Preview, Samples, batch, every, first
from snnconv.errors import InputError
from snnconv.hints import factory_meant
from snnconv.ir.program import TimeContract
from snnconv.registry import Registry

__all__ = [
    "KINDS",
    "SYNTHETIC_SAMPLES",
    "Chunk",
    "Data",
    "DataKind",
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


KINDS: Registry[DataKind] = Registry(
    "snnconv.data",
    {
        "folder": "snnconv.data.folder:KIND",
        "npz": "snnconv.data.npz:KIND",
        "npy": "snnconv.data.npy:KIND",
        "factory": "snnconv.data.factory:KIND",
    },
)


def open_data(text: str, contract: TimeContract, labels: Path | None = None) -> Samples:
    """The samples that `text` names; `labels` is an `.npy` of integers `[N]` that goes with an `.npy` of samples.

    Raises `InputError` if nothing is there, if it does not fit the contract, or if `labels` do not fit the samples.
    """
    return preview(text, labels).open(contract)


def preview(text: str | None, labels: Path | None = None, seed: int = 0) -> Preview:
    """What can be seen of what `text` names before the contract is known; of None, which is seeded noise, nothing can be seen.

    Kinds of other packages are asked first. Raises `InputError` if nothing is there, or if such data have no labels in a file of
    their own.
    """
    if text is None:
        if labels is not None:
            raise InputError(f"{labels}: labels without samples", "name the samples with --data")
        return Preview((), lambda contract: synthetic(contract, seed))
    kinds = (KINDS[name] for name in sorted(KINDS.names(), key=lambda name: name in KINDS.own))
    kind = next((kind for kind in kinds if kind.claims(text)), None)
    if kind is None:
        raise _unknown(text)
    if labels is None:
        return kind.preview(text)
    if kind.preview_labelled is None:
        raise InputError(
            f"{labels}: labels in a file of their own go with an .npy, not with {text}", "put y beside x, or give (x, y)"
        )
    return kind.preview_labelled(text, labels)


def _unknown(text: str) -> InputError:
    path = Path(text)
    try:
        problem = f"unknown suffix '{path.suffix}'" if path.exists() else "no such file or folder"
    except OSError as error:
        problem = str(error.strerror)
    hint = factory_meant(text) if ":" in text or path.suffix == ".py" else ""
    *others, last = (kind.words for kind in KINDS)
    return InputError(f"{path}: {problem}", f"{hint}data is {', '.join(others)}, or {last}")
