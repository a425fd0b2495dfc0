"""Sources: where models come from. Each turns a file and options into a one-step module and its `SpikingProgram`.

A source is one file and one line in `SOURCES`; other packages add theirs under the entry point group `snnconv.sources`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from snnconv.errors import InputError
from snnconv.files import readable
from snnconv.sources import archive, factory, official
from snnconv.sources.options import SourceOptions, configure
from snnconv.sources.source import Source, UnknownLayers

ENTRY_POINTS = "snnconv.sources"

__all__ = ["SOURCES", "Source", "SourceKind", "SourceOptions", "UnknownLayers", "configure", "load_source"]


class SourceKind(Protocol):
    """One kind of source.

    `claims(path, options)` says whether this kind is meant; `load(path, options)` loads it or raises a `SnnconvError`.
    """

    @property
    def claims(self) -> Callable[[Path, SourceOptions], bool]: ...
    @property
    def load(self) -> Callable[[Path, SourceOptions], Source]: ...


SOURCES: tuple[SourceKind, ...] = (archive, factory, official)


def load_source(path: Path, options: SourceOptions) -> Source:
    """Load a source of any kind.

    Raises `InputError` for what cannot be read or recognised and `Refused` for what cannot be captured.
    """
    readable(path)
    foreign = tuple(point.load() for point in entry_points(group=ENTRY_POINTS))
    for kind in (*foreign, *SOURCES):
        if kind.claims(path, options):
            return kind.load(path, options)
    raise InputError(f"{path}: no source claims it", "pass --arch")
