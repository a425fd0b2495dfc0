"""Folding: every norm of a program becomes constants, each site says how exactly, and no norm is left.

A pass is one file; `PASSES` is the order in which they run.
"""

from __future__ import annotations

from dataclasses import replace

from snnconv.fold.held_constants import HoldConstants
from snnconv.fold.linear_norm import FoldLinearNorm
from snnconv.fold.membrane_norm import FoldMembraneNorm
from snnconv.fold.neuron_gain import FoldIntoNeuron
from snnconv.fold.next_linear import FoldIntoNextLinear
from snnconv.fold.passes import FoldPass, FoldRefused
from snnconv.fold.plain_pools import PlainPools
from snnconv.fold.plain_scale import FoldIntoScale
from snnconv.fold.precision import rounded, twin
from snnconv.fold.refusals import RefuseUnfoldable
from snnconv.fold.zero_bias import DropZeroBias
from snnconv.ir.program import SpikingProgram
from snnconv.results import EXACT, REFUSED, ROUNDING

PASSES: tuple[FoldPass, ...] = (
    RefuseUnfoldable(),
    HoldConstants(),
    PlainPools(),
    FoldLinearNorm(),
    FoldIntoNeuron(),
    FoldIntoNextLinear(),
    FoldIntoScale(),
    FoldMembraneNorm(),
    DropZeroBias(),
)

__all__ = ["EXACT", "PASSES", "REFUSED", "ROUNDING", "FoldRefused", "fold", "twin"]


def fold(program: SpikingProgram) -> SpikingProgram:
    """Fold every norm of `program`; the result remembers `program` as its source.

    Passes work in float64 and round nothing; what they leave is rounded once. Raises `FoldRefused` with the sites that cannot be
    folded.
    """
    folded = program
    for step in PASSES:
        step.requires(folded)
        folded = step(folded)
        step.ensures(folded)
    if folded.holds_norms:
        raise RuntimeError("a norm is left after the last fold pass")
    return replace(rounded(folded, program), source=program)
