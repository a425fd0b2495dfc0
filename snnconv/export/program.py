"""`.pt2`: a folded program as a file of its own, which is verified as one time step and exported from."""

from __future__ import annotations

from snnconv.artifact.formats import PROGRAM, Export, Format
from snnconv.artifact.program_file import read_program
from snnconv.ir import pt2


def to_program(export: Export) -> bytes:
    """The file of the program itself, whatever the form."""
    return pt2.encode(export.program)


FORMAT = Format(PROGRAM, (".pt2",), to_program, read_program)
