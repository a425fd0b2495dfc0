"""The functions of the user's own that a network is made of, and running it with other names in their module."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn

from snnconv.user_code import is_library


def own_functions(module: nn.Module) -> Iterator[FunctionType]:
    """The functions of the user's own that the layers of a network have as methods, and those that these call by name."""
    classes = dict.fromkeys(kind for layer in module.modules() for kind in type(layer).__mro__)
    methods: list[Any] = [vars(kind).values() for kind in classes]
    patched: list[Any] = [vars(layer).values() for layer in module.modules()]
    waiting: list[Any] = [getattr(value, "__func__", value) for value in chain(*methods, *patched)]
    seen: set[Callable[..., Any]] = set()
    while waiting:
        function = waiting.pop(0)
        if isinstance(function, FunctionType) and function not in seen and not is_library(function.__code__.co_filename):
            seen.add(function)
            yield function
            waiting += [function.__globals__.get(name) for code in codes_of(function.__code__) for name in code.co_names]


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


@contextmanager
def put(namespace: dict[str, Any], name: str, value: Any) -> Iterator[None]:
    """A block in which `name` is `value` in the namespace."""
    missing = object()
    before = namespace.get(name, missing)
    namespace[name] = value
    try:
        yield
    finally:
        if before is missing:
            del namespace[name]
        else:
            namespace[name] = before


@contextmanager
def sizes_of_tensors(module: nn.Module) -> Iterator[None]:
    """A block in which `len(x)` of a tensor gives `x.shape[0]` in the network's own code.

    While a network is traced that is a size which stays open; the `len` of Python makes a fixed number of it.
    """

    def size(value: Any) -> Any:
        return value.shape[0] if isinstance(value, Tensor) and value.dim() else builtins.len(value)

    with ExitStack() as stack:
        for namespace in {id(f.__globals__): f.__globals__ for f in own_functions(module)}.values():
            if "len" not in namespace:
                stack.enter_context(put(namespace, "len", size))
        yield
