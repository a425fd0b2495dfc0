"""Folding: every norm of a program becomes constants, each site says how exactly, and no norm is left.

A pass is one file and a line in `snnconv.fold.passes`.
"""

from __future__ import annotations

from dataclasses import replace

from snnconv.fold.passes import PASSES, FoldPass, FoldRefused, ordered
from snnconv.fold.precision import drops, rounded, twin
from snnconv.ir.passes import run_passes
from snnconv.ir.program import SpikingProgram
from snnconv.results import EXACT, REFUSED, ROUNDING

__all__ = ["EXACT", "PASSES", "REFUSED", "ROUNDING", "FoldPass", "FoldRefused", "drops", "fold", "ordered", "twin"]


def fold(program: SpikingProgram) -> SpikingProgram:
    """Fold every norm of `program`; the result remembers `program` as its source.

    Passes work in float64 and round nothing; what they leave is rounded once. Raises `FoldRefused` with the sites that cannot be
    folded, and `PassFailed` if a pass breaks or does not keep what it promises.
    """
    folded = run_passes([(step.name, step.run) for step in ordered()], program)
    if folded.holds_norms:
        raise RuntimeError("a norm is left after the last fold pass")
    return replace(rounded(folded, program), source=program)
