"""References with folds that a test has made, or damaged, by itself."""

from __future__ import annotations

from snnconv.ir.program import SpikingProgram
from snnconv.sources import Source
from snnconv.verify import Reference


def reference_to(source: Source, folded: SpikingProgram | None = None, folded64: SpikingProgram | None = None) -> Reference:
    """The reference of `source`, with these folds in the place of its own."""
    reference = Reference(source)
    if folded is not None:
        reference.folded = folded
    if folded64 is not None:
        reference.folded64 = folded64
    return reference


def reference_of(folded: SpikingProgram) -> Reference:
    """The reference of a fold and of the program that was folded, without any code of a user's."""
    return reference_to(Source(folded.source or folded, None), folded)
