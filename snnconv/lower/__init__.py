"""Lowering: a folded program becomes a plain graph, one step with explicit state or a whole sequence.

step       (x, state.<neuron>...) -> (y, next_state.<neuron>...)
sequence   x [B, C, H, W] or [B, T, C, H, W] -> y, read-out inside
"""

from __future__ import annotations

from snnconv.errors import Refused
from snnconv.ir.program import SpikingProgram
from snnconv.lower.graph import Lowered
from snnconv.lower.sequence import lower_sequence
from snnconv.lower.step import lower_step

FORMS = {"sequence": lower_sequence, "step": lower_step}

__all__ = ["FORMS", "Lowered", "lower"]


def lower(program: SpikingProgram, form: str) -> Lowered:
    """Lower a folded program to `form`, "step" or "sequence".

    Raises `Refused` for a program that still holds a norm, and if a neuron bears the name of the step count.
    """
    if program.holds_norms:
        raise Refused("the program still holds norms", "fold it first: snnconv fold SOURCE -o F.pt2")
    return FORMS[form](program)
