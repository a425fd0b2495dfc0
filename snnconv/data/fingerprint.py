"""A hash that identifies a set of samples; it can be computed in chunks, in any order and by several processes."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor

from snnconv.data.samples import Samples

_MODULUS = 2**256
_IDENTIFYING = 16
"""How many samples are enough to tell data sets of the same name and size apart."""


class Fingerprint:
    """The sum modulo 2^256 of one SHA-256 for each sample, read as a big-endian integer.

    The hash is over the sample's number (8 bytes), its x (float32) and its label if it has one (8 bytes), all little-endian.
    """

    def __init__(self, value_hex: str = "0" * 64) -> None:
        """Continue from a saved value. Raises `ValueError` unless it is 64 hexadecimal digits."""
        if len(value_hex) != 64 or len(bytes.fromhex(value_hex)) != 32:
            raise ValueError(f"'{value_hex}' is not 64 hexadecimal digits")
        self._value = int(value_hex, 16)

    def add(self, start: int, x: Tensor, y: Tensor | None) -> None:
        """Add the samples `x` `[b, ...]` with labels `y` `[b]`, the first being number `start`."""
        rows = np.ascontiguousarray(x.numpy(force=True), "<f4")
        labels = None if y is None else np.ascontiguousarray(y.numpy(force=True), "<i8")
        for k, row in enumerate(rows):
            digest = hashlib.sha256((start + k).to_bytes(8, "little"))
            digest.update(row.data)
            if labels is not None:
                digest.update(labels[k].tobytes())
            self._value = (self._value + int.from_bytes(digest.digest(), "big")) % _MODULUS

    @property
    def hex(self) -> str:
        """The value so far, 64 hexadecimal digits."""
        return f"{self._value:064x}"

    def __add__(self, other: Fingerprint) -> Fingerprint:
        """The fingerprint of the samples of both; a sample in both counts twice."""
        return Fingerprint(f"{(self._value + other._value) % _MODULUS:064x}")


def beginning(samples: Samples) -> str:
    """The fingerprint of the first few samples, in hex."""
    start = Fingerprint()
    chunk = next(iter(samples.read(_IDENTIFYING)), None)
    if chunk is not None:
        start.add(0, chunk.x, chunk.y)
    return start.hex
