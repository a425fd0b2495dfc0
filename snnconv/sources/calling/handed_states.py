"""Finding the states that the forward of one step is handed and returns.

The names in its return statement tell, if a state is returned under the name of its argument. Otherwise a run tells: a state is
what a neuron returned at one step, and is handed at the next.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from snnconv.errors import Refused
from snnconv.first_look.places import NAMES
from snnconv.sources.calling.forwards import HandedStates
from snnconv.sources.calling.returned import Path, parts
from snnconv.sources.calling.watching import Watched
from snnconv.user_code import UserCodeError, described

_COUNTERS = ("step", "t", "time_step", "timestep", "timestep_idx", "step_idx", "i")
Run = Callable[[dict[str, Any]], Watched]
"""One step of the network on noise, with these arguments besides."""


def counter_of(module: nn.Module) -> str | None:
    """The argument of its forward that must be given the number of the step, if there is one."""
    names = _returned_names(module)
    required = [p.name for p in _further(module) if p.default is p.empty]
    return next((name for name in required if name in _COUNTERS and name not in names), None)


def find_handed_states(
    module: nn.Module, watched: Callable[[Callable[[nn.Module], Any]], Watched], x: Tensor, others: Mapping[str, Any]
) -> tuple[HandedStates, Watched]:
    """The states of a forward of one step, and a first step of it on `x` `[B, ...]`.

    `watched(call)` runs the network by `call(module)` and watches its neurons; `others` are the arguments that are no states.
    Raises `Refused` if it must be handed what is no state, and `UserCodeError` if it does not run.
    """
    arguments = [p for p in _further(module) if p.name not in others]
    required = frozenset(p.name for p in arguments if p.default is p.empty)
    optional = [p.name for p in arguments if p.default is None and p.name.lower() not in NAMES]

    def run(given: dict[str, Any]) -> Watched:
        return watched(lambda net: net(x, **others, **given))

    empty, first = _first_step(run, required, x)
    found = _by_name(module, [*required, *optional])
    for name in (*required, *optional):
        if name not in found:
            place = _by_run(run, name, first, {n: x.new_zeros(0) if n in empty else None for n in required})
            if place is not None:
                found[name] = place
    if not required <= found.keys():
        names, handed = _returned_names(module), [p.name for p in arguments if p.name in required]
        seen = f" ({', '.join(names)})" if names else ""
        raise Refused(
            f"the network's forward is handed {', '.join(handed)} at every step, and the next was not found in what it "
            f"returns{seen}",
            "let it return each state under its own name, and one output: `return spikes, mem1, mem2`",
        )
    return HandedStates(found, empty & found.keys()), first


def _further(module: nn.Module) -> list[inspect.Parameter]:
    """The arguments of the forward after the first."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in list(inspect.signature(module.forward).parameters.values())[1:] if p.kind in kinds]


def _first_step(run: Run, required: frozenset[str], x: Tensor) -> tuple[frozenset[str], Watched]:
    """A first step, with empty tensors for the states that must be handed, or with None if it does not run on those."""
    try:
        return required, run({name: x.new_zeros(0) for name in required})
    except UserCodeError:
        if not required:
            raise
    try:
        return frozenset(), run(dict.fromkeys(required))
    except UserCodeError as error:
        why = described(error.__cause__ or error)
        if "NoneType" not in why:
            raise
        raise Refused(
            f"the network's forward must be given {', '.join(sorted(required))} besides its input, and does not run while that "
            f"is nothing yet: {why}",
            "let a state begin as None or as an empty tensor, and give any other argument a default",
        ) from error


def _by_name(module: nn.Module, arguments: list[str]) -> dict[str, Path]:
    """The place of every argument that is returned under its own name."""
    names = _returned_names(module)
    return {name: (names.index(name),) for name in arguments if names.count(name) == 1}


def _by_run(run: Run, name: str, first: Watched, others: dict[str, Any]) -> Path | None:
    """Where in what the first step returned there is what a neuron gave back, and takes as argument `name`; None if nowhere."""
    given_back = {path: list(_tensors(calls[-1].given_back)) for path, calls in first.calls.items()}
    for place, value in _places(first.returned):
        inside = list(_tensors(value))
        if not any(_holds(inside, state) for states in given_back.values() for state in states):
            continue
        try:
            second = run({**others, name: value})
        except UserCodeError:
            continue
        handed = {path: list(_tensors(calls[0].handed)) for path, calls in second.calls.items()}
        if any(_holds(inside, state) and _holds(given_back[path], state) for path, states in handed.items() for state in states):
            return place
    return None


def _places(returned: Any) -> Iterator[tuple[Path, Any]]:
    """The parts of what was returned, from the outside inwards."""
    if isinstance(returned, tuple | list):
        yield from (((i,), value) for i, value in enumerate(returned))
        for i, value in enumerate(returned):
            yield from (((i, *path), inner) for path, inner in _places(value))
    elif isinstance(returned, dict):
        yield from (((key,), value) for key, value in returned.items())


def _tensors(value: Any) -> Iterator[Tensor]:
    return (part.value for part in parts(value))


def _holds(tensors: list[Tensor], wanted: Tensor) -> bool:
    return any(tensor is wanted for tensor in tensors)


def _returned_names(module: nn.Module) -> list[str]:
    """The names that `forward` returns; empty if its return statements differ or return anything but names."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(module).forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    returned = [[e.id if isinstance(e, ast.Name) else "" for e in v.elts] if isinstance(v, ast.Tuple) else [] for v in values]
    return returned[0] if returned and all(names == returned[0] for names in returned) else []
