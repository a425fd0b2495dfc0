"""A program saved as `.pt2`: folded ones carry the program they were folded from, and that is the source."""

from __future__ import annotations

from pathlib import Path

from snnconv import pt2
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source

_FIXED = ("arch", "timesteps", "input", "input_shape", "readout", "leak", "threshold", "strict")


def claims(path: Path, options: SourceOptions) -> bool:
    """Every `.pt2`."""
    return path.suffix == ".pt2"


def load(path: Path, options: SourceOptions) -> Source:
    """The unfolded program of a `.pt2`. Raises `InputError`."""
    program = pt2.load(path)
    asked = [name for name in _FIXED if name not in options.configured]
    Resolver(options).reject(*asked, reason=f"{path} already says it")
    return Source(
        program.source or program,
        None,
        (f"the source is the program that {path.name} was folded from",) if program.folded else (),
    )
