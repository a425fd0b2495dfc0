"""Writing artifacts, whatever the format."""

from __future__ import annotations

from pathlib import Path

from snnconv.engines import Candidate, open_candidate
from snnconv.export import export, format_of
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram


def written(program: SpikingProgram, path: Path, form: str = "sequence", batch: int | None = None) -> Path:
    """Write a folded program in the format of the suffix."""
    if path.suffix == ".pt2":
        pt2.save(program, path)
    else:
        export(program, path, format_of(path), form, batch)
    return path


def artifact(program: SpikingProgram, path: Path, form: str, batch: int | None = None) -> Candidate:
    """The same, ready to run in its runtime."""
    return open_candidate(written(program, path, form, batch)).load()
