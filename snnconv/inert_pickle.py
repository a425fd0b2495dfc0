"""Reading a pickle without running it: classes and functions stay names, and objects and calls stay records of what was asked."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Name:
    """The name of a class or function that a pickle asks for, and of its module."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Made:
    """An object that a pickle asks for: `what(*arguments)`, by a call or as a new object, with `state` set on it.

    `what` is None for an object that is stored outside the pickle and identified by `arguments`.
    """

    what: Any
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """The value of a pickle, in plain data, `Name` and `Made`. Raises `ValueError` for damage and for what torch never writes."""
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(data):
            machine.run(operation.name, argument)
        (value,) = machine.stack
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no sound pickle: {error}") from error
    return value


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    """The stacks under each mark."""
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, name: str, argument: Any) -> None:
        """Run one operation of the pickle. Raises `ValueError` for one that torch never writes."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _WRITTEN_OUT:
            self.stack.append(argument)
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"torch does not write {name}")

    def since_mark(self) -> list[Any]:
        """Take the values since the last mark, and the mark, off the stack."""
        values, self.stack = self.stack, self.below.pop()
        return values


def _mark(m: _Machine, _: Any) -> None:
    m.below.append(m.stack)
    m.stack = []


def _put(m: _Machine, index: int) -> None:
    m.memo[index] = m.stack[-1]


def _get(m: _Machine, index: int) -> None:
    m.stack.append(m.memo[index])


def _global(m: _Machine, text: str) -> None:
    module, name = text.split(" ")
    m.stack.append(Name(module, name))


def _tuple(m: _Machine, _: Any) -> None:
    values = tuple(m.since_mark())
    m.stack.append(values)


def _short_tuple(count: int) -> Callable[[_Machine, Any], None]:
    def make(m: _Machine, _: Any) -> None:
        m.stack[-count:] = [tuple(m.stack[-count:])]

    return make


def _appends(m: _Machine, _: Any) -> None:
    values = m.since_mark()
    m.stack[-1].extend(values)


def _set_item(m: _Machine, _: Any) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.stack[-1][key] = value


def _set_items(m: _Machine, _: Any) -> None:
    values = m.since_mark()
    m.stack[-1].update(zip(values[::2], values[1::2], strict=True))


def _make(m: _Machine, _: Any) -> None:
    arguments, what = m.stack.pop(), m.stack.pop()
    m.stack.append(Made(what, tuple(arguments)))


def _build(m: _Machine, _: Any) -> None:
    state = m.stack.pop()
    m.stack[-1].state = state


def _stored(m: _Machine, _: Any) -> None:
    m.stack.append(Made(None, tuple(m.stack.pop())))


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_WRITTEN_OUT = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING")
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _mark,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "TUPLE": _tuple,
    "TUPLE1": _short_tuple(1),
    "TUPLE2": _short_tuple(2),
    "TUPLE3": _short_tuple(3),
    "APPEND": lambda m, _: m.stack[-2].append(m.stack.pop()),
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "REDUCE": _make,
    "NEWOBJ": _make,
    "BUILD": _build,
    "BINPERSID": _stored,
}
