"""Sources: where models come from. Each turns a file and options into the user's module and its `SpikingProgram`.

Loading a checkpoint is one road:

    checkpoint            read the file: named tensors, no code run
    official, factory     build the module and load the tensors into it
    capturing             from the module to its program: the neurons, the forward, one step, the capture, the checks
    calling               how the network is called over time, and calling it so
    fidelity              holding the program against the network's own run
    source                what comes out

A `.pt2` (`archive`) holds the program already. A new kind of source is one file with a `SourceKind`, one line in `SOURCES` and
one test; another package adds its own under the entry point group `snnconv.sources`.
"""

from __future__ import annotations

from pathlib import Path

from snnconv.errors import InputError
from snnconv.files import readable
from snnconv.registry import Registry
from snnconv.sources.kind import SourceKind
from snnconv.sources.options import SourceOptions, configure
from snnconv.sources.refusals import UnknownLayers
from snnconv.sources.source import Source

__all__ = ["SOURCES", "Source", "SourceKind", "SourceOptions", "UnknownLayers", "configure", "load_source"]

SOURCES: Registry[SourceKind] = Registry(
    "snnconv.sources",
    {
        "archive": "snnconv.sources.archive:KIND",
        "factory": "snnconv.sources.factory:KIND",
        "official": "snnconv.sources.official:KIND",
    },
)


def load_source(path: Path, options: SourceOptions) -> Source:
    """Load the source in `path` by the first kind that claims it; those of other packages are asked first.

    Raises `InputError` if it cannot be read or recognised, and `Refused` if it cannot be captured.
    """
    readable(path)
    for name in sorted(SOURCES.names(), key=lambda name: name in SOURCES.own):
        kind = SOURCES[name]
        if kind.claims(path, options):
            return kind.load(path, options)
    raise InputError(f"{path}: no source claims it", "pass --arch")
