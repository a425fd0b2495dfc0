"""Numbers in what a network is configured by, wherever people put them: attributes, classes, dictionaries, namespaces, modules.

A configuration is a collection of names: a dictionary, a namespace of `argparse`, an object or a class of the user's own, an
enumeration, the arguments that a `functools.partial` holds. One may hold others.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor, nn

from snnconv.first_look.own_code import is_own_module, own_classes, put

Names = tuple[str, ...]
"""The way to a number: the names of the configurations around it, and its own."""
_DEEPEST = 3
VALUE = "_value_"
"""Under this name a member of an enumeration holds its value."""


def numbers_in(configuration: Any, depth: int = _DEEPEST) -> Iterator[tuple[Names, int]]:
    """The whole numbers in a configuration and in those inside it."""
    for name, value in contents(configuration).items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield (name,), value
        elif depth > 1 and is_configuration(value):
            yield from (((name, *names), number) for names, number in numbers_in(value, depth - 1))


def is_configuration(value: Any) -> bool:
    """Whether a value is one; a layer is none, nor is a tensor."""
    if isinstance(value, nn.Module | Tensor):
        return False
    if isinstance(value, ModuleType):
        return is_own_module(value)
    known = isinstance(value, dict | Namespace | SimpleNamespace | partial)
    return known or bool(own_classes(value if isinstance(value, type) else type(value)))


def contents(configuration: Any) -> dict[str, Any]:
    """What a configuration, or a layer, holds by name."""
    if isinstance(configuration, Enum):
        return {VALUE: configuration.value}
    if isinstance(configuration, partial):
        return configuration.keywords
    if isinstance(configuration, type):
        return {name: value for kind in reversed(own_classes(configuration)) for name, value in vars(kind).items()}
    if _is_named_tuple(configuration):
        return configuration._asdict()
    own = {} if isinstance(configuration, ModuleType) else contents(type(configuration))
    slots = {name: getattr(configuration, name) for name in _slots(configuration) if hasattr(configuration, name)}
    items = {key: value for key, value in configuration.items() if isinstance(key, str)} if _is_dict(configuration) else {}
    return {**own, **slots, **_attributes(configuration), **items}


def last_of(names: Names) -> str:
    """The name by which the number itself goes, as people write it, without the underscores of a private one."""
    own = [name for name in names if name != VALUE][-1]
    return own.rpartition("__")[2].strip("_")


@contextmanager
def holding(configuration: Any, names: Names, value: Any) -> Iterator[None]:
    """A block in which `value` stands at the end of `names`."""
    around = [configuration]
    for name in names[:-1]:
        around.append(contents(around[-1])[name])
    while len(around) > 1 and _is_named_tuple(around[-1]):  # a named tuple cannot be changed: another takes its place
        value = around.pop()._replace(**{names[-1]: value})
        names = names[:-1]
    with ExitStack() as held:
        _put(around[-1], names[-1], value, held)
        yield


def _put(place: Any, name: str, value: Any, held: ExitStack) -> None:
    """Let `value` stand under `name` in `place` until `held` ends."""
    if isinstance(place, partial):
        held.enter_context(put(place.keywords, name, value))
        return
    if _is_dict(place) and name in place:
        held.callback(dict.__setitem__, place, name, place[name])
        dict.__setitem__(place, name, value)
    if isinstance(place, type):
        kind = next(each for each in own_classes(place) if name in vars(each))
        held.callback(type.__setattr__, kind, name, vars(kind)[name])
        type.__setattr__(kind, name, value)
    elif name in _slots(place):
        held.callback(object.__setattr__, place, name, getattr(place, name))
        object.__setattr__(place, name, value)
    elif not _is_dict(place) or name in _attributes(place):
        held.enter_context(put(_attributes(place), name, value))


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object; none if it has slots alone."""
    try:
        attributes: dict[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return attributes


def _slots(value: Any) -> list[str]:
    return [name for kind in type(value).__mro__ for name in _listed(vars(kind).get("__slots__", ())) if name != "__dict__"]


def _listed(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)
