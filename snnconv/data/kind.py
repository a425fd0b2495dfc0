"""What a kind of data is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snnconv.data.samples import Preview


@dataclass(frozen=True)
class DataKind:
    """One kind of data, which the user names in a text: a path, or something else.

    Attributes:
        words: what it is, for messages.
        claims: whether a text names data of this kind.
        preview: what can be seen of the data before the contract is known. Raises `InputError` if they cannot be read.
        preview_labelled: the same with labels in a file of their own; None if the kind has no such labels.
    """

    words: str
    claims: Callable[[str], bool]
    preview: Callable[[str], Preview]
    preview_labelled: Callable[[str, Path], Preview] | None = None
