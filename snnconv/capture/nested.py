"""Tensors in lists, tuples and dicts: finding them by the keys that lead to them, and putting others in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

Keys = tuple[Any, ...]
"""Indices and keys, from the outside inwards."""
_DEPTH = 4
"""So deep at most are tensors looked for."""


def tensors_in(value: Any, depth: int = _DEPTH) -> Iterator[tuple[Keys, Tensor]]:
    """The tensors in `value`, parameters left out, with the keys that lead to them."""
    if isinstance(value, Tensor):
        if not isinstance(value, nn.Parameter):
            yield (), value
    elif depth:
        for key, child in _children(value).items():
            for inside, tensor in tensors_in(child, depth - 1):
                yield (key, *inside), tensor


def value_at(value: Any, inside: Keys) -> Any:
    """What the keys lead to in `value`; None if they lead nowhere."""
    for key in inside:
        value = _children(value).get(key)
    return value


def put_into(value: Any, like: Any, parts: Mapping[Keys, Tensor]) -> Any:
    """`value` with the `parts` where their keys lead; lists and dicts are changed in place.

    Where `value` is no container of the kind that `like` is, a new one is made as that is.
    """
    if () in parts:
        return parts[()]
    own = _children(value) if type(value) is type(like) else {}
    children = {**_children(like), **own}
    for key in {inside[0]: None for inside in parts}:
        further = {inside[1:]: part for inside, part in parts.items() if inside[0] == key}
        children[key] = put_into(own.get(key), _children(like).get(key), further)
    if own and isinstance(value, list):
        value[:] = children.values()
        return value
    if own and isinstance(value, dict):
        value.update(children)
        return value
    return _container(like, children)


def unshared(value: Any) -> Any:
    """`value` with new lists and dicts in the place of its own."""
    if isinstance(value, list | dict):
        return _container(value, {key: unshared(child) for key, child in _children(value).items()})
    return value


def _children(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, list | tuple) else {}


def _container(like: Any, children: Mapping[Any, Any]) -> Any:
    if isinstance(like, dict):
        return dict(children) if type(like) is dict else type(like)(children)
    values = list(children.values())
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)
