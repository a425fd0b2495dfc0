"""Exporting: a folded program becomes an artifact. A format is one file here and one line in `FORMATS`."""

from __future__ import annotations

from pathlib import Path

from snnconv.artifact.formats import FORMATS, Export, Format, format_names, format_of
from snnconv.ir.program import SpikingProgram

__all__ = ["FORMATS", "Export", "Format", "encode", "export", "format_names", "format_of"]


def export(program: SpikingProgram, path: Path, format: Format, form: str = "sequence", batch: int | None = None) -> None:
    """Write what `encode` gives to `path`."""
    path.write_bytes(encode(program, format, form, batch))


def encode(program: SpikingProgram, format: Format, form: str = "sequence", batch: int | None = None) -> bytes:
    """`program` in a format.

    Args:
        form: "sequence" or "step".
        batch: a fixed batch size, or None for any.

    Raises `Refused` if the format cannot hold the program, or it still holds norms.
    """
    return format.encode(Export(program, form, batch, format.packages))
