"""Reading a pickle without running it: classes and functions stay names, and objects and calls stay records of what was asked.

`read_pickle` knows what TorchScript writes, and nothing else. `read_any_pickle` knows every operation of every protocol.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Name:
    """The name of a class or function that a pickle asks for, and of its module."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Made:
    """An object that a pickle asks for: `what(*arguments)`, by a call or as a new object, with `state` set on it.

    `what` is None for an object that is stored outside the pickle and identified by `arguments`. Only a pickle of
    `read_any_pickle` puts something in later: `items` are pairs of a key and a value, `elements` values without one.
    """

    what: Any
    arguments: tuple[Any, ...]
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)
    elements: list[Any] = field(default_factory=list)


def read_pickle(data: bytes) -> Any:
    """The value of a pickle, in plain data, `Name` and `Made`. Raises `ValueError` for damage and for what torch never writes."""
    return _read(data, _OPERATIONS)


def read_any_pickle(file: BinaryIO) -> Any:
    """The value of the pickle at the position of `file`, which is left behind its end. Raises `ValueError` for damage.

    A key of a dict that is no plain value stands there as a `Made` of its own, equal to itself alone.
    """
    return _read(file, _ALL)


def made_in(root: Any) -> Iterator[Made]:
    """Every `Made` in a value of a pickle, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, Made | dict | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Made):
            yield value
            waiting += [value.what, value.arguments, value.state, value.items, value.elements]
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        else:
            waiting += value


Operations = dict[str, Callable[["_Machine", Any], None]]


def _read(pickled: bytes | BinaryIO, operations: Operations) -> Any:
    machine = _Machine(operations)
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            machine.run(operation.name, argument)
        (value,) = machine.stack
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no sound pickle: {error}") from error
    return value


@dataclass
class _Machine:
    operations: Operations
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
        elif name in self.operations:
            self.operations[name](self, argument)
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
    m.stack[-1][_key(key)] = value


def _set_items(m: _Machine, _: Any) -> None:
    values = m.since_mark()
    m.stack[-1].update(_pairs(values))


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(map(_key, values[::2]), values[1::2], strict=True))


def _key(value: Any) -> Any:
    """`value` as the key of a dict. What holds other values is never hashed: a deeply nested tuple would crash Python."""
    if isinstance(value, tuple) and any(isinstance(part, tuple) for part in value):
        return Made(Name("builtins", "tuple"), value)
    return value


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
_OPERATIONS: Operations = {
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


def _append_any(m: _Machine, _: Any) -> None:
    value = m.stack.pop()
    _elements(m.stack[-1]).append(value)


def _append_all(m: _Machine, _: Any) -> None:
    values = m.since_mark()
    _elements(m.stack[-1]).extend(values)


def _elements(value: Any) -> list[Any]:
    elements = value.elements if isinstance(value, Made) else value
    if not isinstance(elements, list):
        raise TypeError(f"a {type(value).__name__} takes no elements")
    return elements


def _set_any(m: _Machine, _: Any) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _put_in(m.stack[-1], _pairs([key, value]))


def _set_all(m: _Machine, _: Any) -> None:
    values = m.since_mark()
    _put_in(m.stack[-1], _pairs(values))


def _put_in(value: Any, pairs: list[tuple[Any, Any]]) -> None:
    if isinstance(value, Made):
        value.items.extend(pairs)
    else:
        value.update(pairs)


def _pop(m: _Machine, _: Any) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()


def _pop_mark(m: _Machine, _: Any) -> None:
    m.since_mark()


def _memoize(m: _Machine, _: Any) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _global_of_stack(m: _Machine, _: Any) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.stack.append(Name(str(module), str(name)))


def _make_with_keywords(m: _Machine, _: Any) -> None:
    keywords, arguments, what = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.stack.append(Made(what, (*arguments, *keywords.values())))


def _make_of_mark(m: _Machine, _: Any) -> None:
    what, *arguments = m.since_mark()
    m.stack.append(Made(what, tuple(arguments)))


def _instance(m: _Machine, text: str) -> None:
    module, name = text.split(" ")
    arguments = m.since_mark()
    m.stack.append(Made(Name(module, name), tuple(arguments)))


def _of_mark(make: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    def operation(m: _Machine, _: Any) -> None:
        values = m.since_mark()
        m.stack.append(make(values))

    return operation


def _stored_any(m: _Machine, _: Any) -> None:
    identity = m.stack.pop()
    m.stack.append(Made(None, identity if isinstance(identity, tuple) else (identity,)))


def _written(m: _Machine, argument: Any) -> None:
    m.stack.append(argument)


def _extension(m: _Machine, number: int) -> None:
    m.stack.append(Name("copyreg", f"extension {number}"))


_ALL: Operations = {
    **_OPERATIONS,
    **dict.fromkeys(("INT", "LONG", "LONG4", "FLOAT", "STRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE8"), _written),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _written),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
    "FRAME": lambda m, _: None,
    "GET": _get,
    "PUT": _put,
    "MEMOIZE": _memoize,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "LIST": _of_mark(lambda values: values),
    "DICT": _of_mark(lambda values: dict(_pairs(values))),
    "APPEND": _append_any,
    "APPENDS": _append_all,
    "ADDITEMS": _append_all,
    "SETITEM": _set_any,
    "SETITEMS": _set_all,
    "EMPTY_SET": lambda m, _: m.stack.append(Made(Name("builtins", "set"), ())),
    "FROZENSET": _of_mark(lambda values: Made(Name("builtins", "frozenset"), (), elements=values)),
    "STACK_GLOBAL": _global_of_stack,
    "NEWOBJ_EX": _make_with_keywords,
    "OBJ": _make_of_mark,
    "INST": _instance,
    "PERSID": lambda m, text: m.stack.append(Made(None, (text,))),
    "BINPERSID": _stored_any,
}
