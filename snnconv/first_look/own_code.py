"""The functions of the user's own that a network is made of, and running it with other names in their module."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from snnconv.user_code import is_installed, is_library

_BY_A_STATEMENT = 1 << 9
"""The flag of a class that Python itself did not bring along (`Py_TPFLAGS_HEAPTYPE`)."""
_OF_PYTHON = frozenset(sys.builtin_module_names) - {"builtins"}
"""Modules without a file; code that is run without a name is in `builtins` as well."""


def own_functions(module: nn.Module) -> Iterator[FunctionType]:
    """The functions of the user's own that a network runs, as far as their names tell.

    They are the methods of its layers, those of objects of the user's own that these hold, and what they read by name: functions
    around them, of their module and of other modules, and the methods of classes and objects there.
    """
    waiting: list[tuple[Any, bool]] = [(type(layer), True) for layer in module.modules()]
    waiting += [(value, True) for layer in module.modules() for value in vars(layer).values()]
    seen = set[FunctionType]()
    while waiting:
        value, of_the_network = waiting.pop(0)
        for function in _functions_of(value):
            file = function.__code__.co_filename
            if function not in seen and not is_library(file):
                seen.add(function)
                yield function
                if of_the_network or not is_installed(file):
                    waiting += [(read, False) for _, read in read_by(function)]


def read_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function reads by name around it: in its module, in those that this imports, and in the functions around it."""
    names = {name for code in codes_of(function.__code__) for name in code.co_names}
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield name, value
        if is_own_module(value):
            yield from ((inner, vars(value)[inner]) for inner in sorted(names & vars(value).keys()))
    yield from ((name, content_of(cell)) for name, cell in cells_of(function).items())


def is_own_module(value: Any) -> bool:
    """Whether a value is a module of the user's own."""
    file = getattr(value, "__file__", None) if isinstance(value, ModuleType) else None
    return file is not None and not is_library(file) and not is_installed(file)


def _functions_of(value: Any) -> Iterator[FunctionType]:
    """The function that a value is, or those that are methods of it."""
    function = _function_in(value)
    if function is not None:
        yield function
        return
    for kind in own_classes(value if isinstance(value, type) else type(value)):
        yield from filter(None, map(_function_in, vars(kind).values()))


def _function_in(value: Any) -> FunctionType | None:
    """The function that a method, a property or the like is made of; None if a value is none of them."""
    if isinstance(value, MethodType | staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, partial | cached_property):
        value = value.func
    return value if isinstance(value, FunctionType) else None


def own_classes(kind: type) -> list[type]:
    """The classes from which a class derives, itself the first, that are neither Python's, nor torch's, nor a framework's."""
    return [each for each in kind.__mro__ if _is_own(each)]


def _is_own(kind: type) -> bool:
    """Whether a class is the user's own: a file says so, or, as in a notebook and for code that is run without one, that a class
    statement made it."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is not None:
        return not is_library(file)
    return bool(kind.__flags__ & _BY_A_STATEMENT) and kind.__module__ not in _OF_PYTHON


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


def cells_of(function: FunctionType) -> dict[str, CellType]:
    """The variables around a function that it reads, by name."""
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def content_of(cell: CellType) -> Any:
    """What a variable around a function is; None if it is nothing yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


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
