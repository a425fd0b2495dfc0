"""What a kind of source is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snnconv.sources.options import SourceOptions
from snnconv.sources.source import Source


@dataclass(frozen=True)
class SourceKind:
    """One kind of source. Another package may give anything with these two functions, such as a module.

    Attributes:
        claims: whether a path and options mean a source of this kind; the file exists, and is not read.
        load: loads it, or raises a `SnnconvError`.
    """

    claims: Callable[[Path, SourceOptions], bool]
    load: Callable[[Path, SourceOptions], Source]
