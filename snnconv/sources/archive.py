"""A program saved as `.pt2`: folded ones carry the program they were folded from, and that is the source."""

from __future__ import annotations

from pathlib import Path

from snnconv.files import Content, read
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source

_FIXED = ("arch", "timesteps", "input", "input_shape", "readout", "leak", "threshold", "strict")


def claims(path: Path, options: SourceOptions) -> bool:
    """Every `.pt2`."""
    return path.suffix == ".pt2"


def load(path: Path, options: SourceOptions) -> Source:
    """The unfolded program of a `.pt2`. Raises `InputError`."""
    content = read(path)
    asked = [name for name in _FIXED if name not in options.configured]
    Resolver(options).reject(*asked, reason=f"{path} already says it")
    return source_in(pt2.decode(content), content)


def source_in(program: SpikingProgram, content: Content) -> Source:
    """The source that a program brings along, which was read from `content`."""
    note = f"the source is the program that {content.path.name} was folded from"
    return Source(program.source or program, None, (note,) if program.folded else (), archive_sha256=content.sha256)
