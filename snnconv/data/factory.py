"""Samples from the user's own code: `package.module:factory` returns a torch `Dataset`, or anything that can be iterated over.

The factory takes no arguments. By naming it, the user allows its code to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any

from torch.utils.data import IterableDataset

from snnconv.data.indexed import Indexed, fetched
from snnconv.data.items import shapes_of
from snnconv.data.iterated import Iterated
from snnconv.data.kind import DataKind
from snnconv.data.samples import Preview, Samples
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from snnconv.user_code import imported, running_user_code

_RETURNS = "it must return a Dataset, or an iterable, of x, (x, y) or {'x': x, 'y': y}"


def claims(text: str) -> bool:
    """Whether `text` is two names with a colon between them."""
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), name))


def preview(text: str) -> Preview:
    """Call the factory and look at its first item. Raises `InputError` if either fails, or if there is no item."""
    factory = imported(text)
    made = _made(text, factory)
    with running_user_code(text, "looking at what it returns"):
        indexed = _is_indexed(made)
    if indexed:
        with running_user_code(text, "its length"):
            length = len(made)
        if length == 0:
            raise InputError(f"{text}: holds no samples")
        with running_user_code(text, "item 0"):
            shapes = shapes_of(made[0])
        return Preview(shapes, partial(_indexed, text, made, length))
    with running_user_code(text, "iterating over it"):
        items = iter(made)
    with running_user_code(text, "item 0"):
        begun = list(islice(items, 1))
        shapes = shapes_of(begun[0]) if begun else ()
    return Preview(shapes, lambda contract: Iterated(text, contract, lambda: _made(text, factory), chain(begun, items)))


def _indexed(text: str, made: Any, length: int, contract: TimeContract) -> Samples:
    item = fetched(text, made, 0, contract)
    if item.batched:
        return Iterated(text, contract, lambda: _by_index(made, length), _by_index(made, length))
    return Indexed(text, contract, made, length, item.y is not None)


def _made(text: str, factory: Callable[[], Any]) -> Any:
    with running_user_code(text, "calling it", "it takes no arguments"):
        made = factory()
        iterable = hasattr(made, "__iter__") or hasattr(made, "__getitem__")
    if isinstance(made, str | bytes | Mapping) or not iterable:
        raise InputError(f"{text}: returns a {type(made).__name__}", _RETURNS)
    return made


def _is_indexed(made: Any) -> bool:
    """Whether any sample can be asked for by its number. An `IterableDataset` inherits a `__getitem__` that only raises."""
    return hasattr(made, "__len__") and hasattr(made, "__getitem__") and not isinstance(made, IterableDataset)


def _by_index(made: Any, length: int) -> Iterator[Any]:
    return (made[index] for index in range(length))


KIND = DataKind("package.module:factory", claims, preview)
