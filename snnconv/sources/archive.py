"""Programs saved as `.pt2`. A folded one carries the program it was folded from, and that is the source."""

from __future__ import annotations

from pathlib import Path

from snnconv.files import Content, read
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram
from snnconv.sources.kind import SourceKind
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source

_NETWORK = ("arch", "timesteps", "input", "input_shape", "readout", "output", "leak", "threshold", "strict")
_FIXED = (*_NETWORK, "weights", "ignore", "rename")
"""The options that a program answers itself."""


def claims(path: Path, options: SourceOptions) -> bool:
    """Whether the file is called `.pt2`."""
    return path.suffix == ".pt2"


def load(path: Path, options: SourceOptions) -> Source:
    """The unfolded program of a `.pt2`. Raises `InputError` if it cannot be read, or an option contradicts it."""
    content = read(path)
    given = [name for name in _FIXED if name not in options.configured]
    Resolver(options).reject(*given, reason=f"{path} already says it")
    return source_in(pt2.decode(content), content)


def source_in(program: SpikingProgram, content: Content) -> Source:
    """The source of a program that was read from `content`: the program that it was folded from, or itself if not folded."""
    note = f"the source is the program that {content.path.name} was folded from"
    return Source(program.source or program, None, (note,) if program.folded else (), archive_sha256=content.sha256)


KIND = SourceKind(claims, load)
