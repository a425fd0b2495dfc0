"""The arguments by which the forward of a network is told of time: which step is the first, and how many steps there are.

    forward(x, init=t == 0)
    forward(x, num_steps)

Networks that are trained online begin a sample with the first: their neurons make their potentials anew then.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from torch import nn

from snnconv.first_look.places import NAMES

_FIRST = frozenset(
    {
        "first",
        "first_step",
        "init",
        "init_state",
        "init_states",
        "initial",
        "initialize",
        "is_first",
        "is_first_step",
        "is_init",
        "new_sample",
        "new_sequence",
        "reset",
        "reset_state",
        "reset_states",
        "restart",
    }
)
"""What networks call the argument that says so, in lower case."""


def first_step_argument(module: nn.Module) -> str | None:
    """The argument of the forward of `module` that says whether a step is the first; None if there is none.

    It is a parameter that is True or False by default, or the only one that must be given besides the input; or, if the forward
    takes any argument, a name by which the forward of a layer asks for one.
    """
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    further = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in further if p.default is p.empty]
    names = [p.name for p in further if isinstance(p.default, bool) or required == [p.name]]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        names += [name for layer in module.modules() for name in _texts_in(layer)]
    return next((name for name in names if name.lower() in _FIRST), None)


def step_count_argument(module: nn.Module) -> str | None:
    """The argument of the forward of `module` that must be given T, if there is one: it has such a name, and no default.

    `t` and `step` name the number of one step there.
    """
    return next((name for name in required_arguments(module) if name.lower() in NAMES - {"t", "step"}), None)


def required_arguments(module: nn.Module) -> list[str]:
    """The arguments that the forward of `module` must be given besides its input."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.default is p.empty and p.kind in kinds]


def _texts_in(layer: nn.Module) -> Iterator[str]:
    """The texts in the code of a layer's forward, of which names of arguments are some."""
    code = getattr(inspect.unwrap(type(layer).forward), "__code__", None)
    return (constant for constant in (code.co_consts if code else ()) if isinstance(constant, str))
