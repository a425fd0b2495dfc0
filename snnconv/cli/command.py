"""Commands made of groups of options, so that an option that several commands share is written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from typing import Annotated, Any

import typer

_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
)


def command(function: Callable[..., int]) -> Callable[..., int]:
    """`function` as Typer is to see it: in the place of each parameter that is a group stand the options of the group.

    A group is a dataclass; each of its fields is an argument or an option. An option that two groups have in common, such as
    --config, stands there once, and both are given it. Every command has --debug, which `main` looks for.
    """
    parameters = _parameters(function)
    groups: dict[str, Any] = {p.name: p.annotation for p in parameters if is_dataclass(p.annotation)}
    options = {o.name: o for p in parameters for o in (_parameters(p.annotation) if p.name in groups else [p])}

    @wraps(function)
    def grouped(*, debug: bool, **given: Any) -> int:
        made = {name: group(**{o.name: given[o.name] for o in _parameters(group)}) for name, group in groups.items()}
        alone = {p.name: given[p.name] for p in parameters if p.name not in groups}
        return function(**made, **alone)

    signature = inspect.Signature([*(o.replace(kind=_DEBUG.kind) for o in options.values()), _DEBUG])
    grouped.__signature__ = signature  # type: ignore[attr-defined]
    return grouped


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())
