"""Lowering: a folded program becomes a plain graph, one step with explicit state or a whole sequence.

step       (x, state.<neuron>...) -> (y, next_state.<neuron>...)
sequence   x [B, C, H, W] or [B, T, C, H, W] -> y, read-out inside

A form is one file and one line in `FORMS`; other packages add theirs under `snnconv.lowerings`. Whatever its name, a form that is
not "step" takes a whole input and gives what is read out.
"""

from __future__ import annotations

from collections.abc import Callable

from snnconv.errors import Refused
from snnconv.ir.program import SpikingProgram
from snnconv.lower.graph import Lowered
from snnconv.registry import Registry

FORMS: Registry[Callable[[SpikingProgram], Lowered]] = Registry(
    "snnconv.lowerings",
    {
        "sequence": "snnconv.lower.sequence:lower_sequence",
        "step": "snnconv.lower.step:lower_step",
    },
)

__all__ = ["FORMS", "Lowered", "lower"]


def lower(program: SpikingProgram, form: str) -> Lowered:
    """Lower a folded program to a form of `FORMS`.

    Raises `Refused` for a form that there is not, for a program that still holds a norm, and if a neuron bears the name of the
    step count.
    """
    if program.holds_norms:
        raise Refused("the program still holds norms", "fold it first: snnconv fold SOURCE -o F.pt2")
    if form not in FORMS:
        raise Refused(f"there is no form '{form}'", f"it is one of {', '.join(FORMS.names())}")
    return FORMS[form](program)
