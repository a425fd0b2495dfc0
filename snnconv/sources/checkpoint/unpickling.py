"""From the inert value of a pickle to plain data and tensors. No class or function of a file is ever looked up.

What is built is in `_BUILDERS`, by its name: torch's tensors, numpy's arrays and the collections of Python. Everything else
becomes an `Inert`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnconv.claims import check_span, check_total
from snnconv.inert_pickle import Made, Name
from snnconv.sources.checkpoint.values import Inert, Stored

_DEEPEST = 64
_STORAGES = {
    **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "Untyped": torch.uint8},
}
_QUANTISED = {"QInt8": 1, "QUInt8": 1, "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1}
"""Kinds of storage that are not read, with the bytes of an element."""


@dataclass(frozen=True)
class Storage:
    """The values of one or more tensors: `elements` of `dtype`; `read` gives all their bytes, or raises `ValueError`."""

    dtype: torch.dtype
    elements: int
    read: Callable[[], bytes]

    def values(self, dtype: torch.dtype) -> Tensor:
        """All of its values as a flat tensor of `dtype`. Raises `ValueError` if there are fewer or more than it should hold."""
        raw, wanted = self.read(), self.elements * self.dtype.itemsize
        if len(raw) != wanted:
            raise ValueError(f"the values of a tensor should take {wanted} bytes, but take {len(raw)}")
        return torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)


@dataclass
class Unpickler:
    """Builds the values of one pickle.

    Attributes:
        size: how many bytes the file holds.
        reading: gives what reads the bytes of the storage of an identity, as the pickle names it.
        nested: reads a torch file within the pickle.
    """

    size: int
    reading: Callable[[tuple[Any, ...], torch.dtype], Callable[[], bytes]]
    nested: Callable[[bytes], Any]
    _built: dict[int, Any] = field(default_factory=dict)
    _copied: int = 0

    def build(self, value: Any, depth: int = 0) -> Any:
        """Plain data, `Stored`, `Inert` and `Storage` for an inert value. Raises `ValueError` for a tensor that is none."""
        if not isinstance(value, dict | list | tuple | Made | Name):
            return value
        if depth > _DEEPEST:
            return Inert(f"data nested more than {_DEEPEST} deep")
        if id(value) not in self._built:
            self._built[id(value)] = self._new(value, depth)
        return self._built[id(value)]

    def _new(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return self.mapping(value, value.items(), depth)
        if isinstance(value, list):
            built = self._built[id(value)] = []
            built.extend(self.build(part, depth + 1) for part in value)
            return built
        if isinstance(value, tuple):
            return tuple(self.build(part, depth + 1) for part in value)
        if isinstance(value, Name):
            return _TORCH_NAMES.get(str(value)) or Inert(str(value))
        return self._made(value, depth)

    def mapping(self, owner: Any, pairs: Any, depth: int) -> dict[Any, Any]:
        """The dict of some pairs, which stands for `owner` already while it is built: it may contain itself."""
        built: dict[Any, Any] = {}
        self._built[id(owner)] = built
        for key, value in pairs:
            plain = self.build(key, depth + 1)
            built[str(plain.name) if isinstance(plain, Inert) else _key(plain)] = self.build(value, depth + 1)
        return built

    def _made(self, made: Made, depth: int) -> Any:
        if made.what is None:
            return self.storage(made.arguments)
        name = str(made.what) if isinstance(made.what, Name) else ""
        changed = name in _TENSORS and (made.state is not None or made.items or made.elements)
        built = _BUILDERS[name](self, made, depth + 1) if name in _BUILDERS and not changed else NotImplemented
        return Inert(_name_of(made), _is_module(made)) if built is NotImplemented else built

    def copied(self, data: Any) -> Any:
        """`data`, counted. Raises `ValueError` if the pickle asks for far more copies of its data than the file is large."""
        self._copied += len(data)
        check_total(self._copied, self.size)
        return data

    def storage(self, identity: tuple[Any, ...]) -> Any:
        """The storage of an identity; an `Inert` for a class whose source stands beside it."""
        if len(identity) == 4 and identity[0] == "module" and isinstance(identity[1], Name):
            return Inert(str(identity[1]))
        if len(identity) < 5 or identity[0] != "storage" or not isinstance(identity[1], Name):
            raise ValueError("a tensor has no storage")
        kind = identity[1].name.removesuffix("Storage")
        if kind in _QUANTISED:
            return Inert(kind.lower())
        element_bytes(identity[1])
        part = identity[5] if len(identity) > 5 else None
        elements = identity[4] if part is None else part[2]
        if type(elements) is not int or elements < 0:
            raise ValueError("a tensor has a storage of no size")
        return Storage(_STORAGES[kind], elements, self.reading(identity, _STORAGES[kind]))

    def tensor(self, parts: tuple[Any, ...], dtype: torch.dtype | None = None) -> Stored:
        """The tensor of a storage, its offset, shape and strides."""
        storage, offset, shape, strides = (self.build(part) for part in parts[:4])
        if not isinstance(storage, Storage):
            raise ValueError("a tensor has no storage")
        kind = dtype or storage.dtype
        elements = storage.elements * storage.dtype.itemsize // kind.itemsize
        check_span(elements, offset, shape, strides)
        return Stored(tuple(shape), _name(kind), lambda: storage.values(kind).as_strided(shape, strides, offset))


def element_bytes(kind: Name) -> int:
    """How many bytes an element of a storage takes. Raises `ValueError` if it is no kind of storage that torch knows."""
    name = kind.name.removesuffix("Storage")
    if name not in _STORAGES and name not in _QUANTISED:
        raise ValueError(f"{kind} is no kind of storage")
    return _STORAGES[name].itemsize if name in _STORAGES else _QUANTISED[name]


def _key(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _name_of(made: Made) -> str:
    """The name of the class of an object, or of the function that would make it."""
    what, arguments = made.what, made.arguments
    beside_its_source = isinstance(what, Made) and what.what is None
    if beside_its_source or (isinstance(what, Name) and str(what) in ("copyreg._reconstructor", "copy_reg._reconstructor")):
        what = next((part for part in (what.arguments if beside_its_source else arguments) if isinstance(part, Name)), what)
    return str(what) if isinstance(what, Name) else "an object of its own"


def _is_module(made: Made) -> bool:
    state = made.state[0] if isinstance(made.state, tuple) and made.state else made.state
    return isinstance(state, dict) and {"_modules", "_parameters"} <= {key for key in state if isinstance(key, str)}


Builder = Callable[[Unpickler, Made, int], Any]
"""Builds what a `Made` of one name asks for, at a depth; NotImplemented if it does not know this form of it."""


def _tensor(u: Unpickler, made: Made, _: int) -> Any:
    # torch writes the bits "conjugated" and "negated" behind the six arguments that every tensor has.
    return NotImplemented if any(made.arguments[6:]) else u.tensor(made.arguments)


def _tensor_of_dtype(u: Unpickler, made: Made, _: int) -> Any:
    dtype = getattr(torch, str(made.arguments[6]).removeprefix("torch."), None)
    return u.tensor(made.arguments, dtype) if isinstance(dtype, torch.dtype) and not any(made.arguments[7:]) else NotImplemented


def _parameter(u: Unpickler, made: Made, depth: int) -> Any:
    return u.build(made.arguments[0], depth)


def _with_attributes(u: Unpickler, made: Made, depth: int) -> Any:
    """A tensor with attributes of its own; a class of tensors that is not torch's may mean other values."""
    function, kind, arguments = made.arguments[:3]
    plain = str(kind) in ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
    known = isinstance(function, Name) and str(function) in _TENSORS
    return _TENSORS[str(function)](u, Made(function, tuple(arguments)), depth) if plain and known else NotImplemented


def _without_values(kind: Callable[[Unpickler, Made], str], shape: Callable[[Made], Any]) -> Builder:
    """Builds a tensor of which snnconv can only say that it is there."""

    def build(u: Unpickler, made: Made, _: int) -> Any:
        found = u.build(shape(made))
        return Stored(tuple(found), kind(u, made), None) if _is_shape(found) else NotImplemented

    return build


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(type(size) is int and size >= 0 for size in value)


def _kind_of_storage(u: Unpickler, made: Made) -> str:
    storage = u.build(made.arguments[0])
    return storage.name if isinstance(storage, Inert) else "quantised"


def _ordered(u: Unpickler, made: Made, depth: int) -> Any:
    given = made.arguments[0] if made.arguments else ()
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return NotImplemented
    return u.mapping(made, [*pairs, *made.items], depth)


def _with_default(u: Unpickler, made: Made, depth: int) -> Any:
    return u.mapping(made, made.items, depth)


def _elements(u: Unpickler, made: Made, depth: int) -> Any:
    given = made.arguments[0] if made.arguments else ()
    if not isinstance(given, list | tuple):
        return NotImplemented
    return [u.build(part, depth) for part in (*given, *made.elements)]


def _bytes(u: Unpickler, made: Made, depth: int) -> Any:
    """Bytes, which a pickle of protocol 2 writes as a text of the characters 0 to 255."""
    match made.arguments:
        case (str(text), "latin1" | "latin-1"):
            return u.copied(text).encode("latin-1")
        case (Made() | bytes() as data,):
            built = u.build(data, depth)
            return u.copied(built) if isinstance(built, bytes) else NotImplemented
        case ():
            return b""
    return NotImplemented


def _complex(_: Unpickler, made: Made, __: int) -> Any:
    match made.arguments:
        case (float(real), float(imaginary)):
            return complex(real, imaginary)
    return NotImplemented


def _text(_: Unpickler, made: Made, __: int) -> Any:
    return str(made.arguments[0]) if made.arguments and isinstance(made.arguments[0], str) else NotImplemented


def _in_the_file(u: Unpickler, made: Made, depth: int) -> Any:
    data = u.build(made.arguments[0], depth)
    return u.nested(u.copied(data)) if isinstance(data, bytes | bytearray) else NotImplemented


def _array(u: Unpickler, made: Made, depth: int) -> Any:
    """An array that is made empty and then filled: `(version, shape, dtype, in the order of Fortran, bytes)`."""
    if not isinstance(made.state, tuple) or len(made.state) != 5 or str(made.arguments[:1][0]) != "numpy.ndarray":
        return NotImplemented
    _, shape, dtype, fortran, data = (u.build(part, depth) for part in made.state)
    return _stored_array(data, dtype, shape, "F" if fortran else "C")


def _array_of_buffer(u: Unpickler, made: Made, depth: int) -> Any:
    data, dtype, shape, order = (u.build(part, depth) for part in made.arguments)
    return _stored_array(data, dtype, shape, order)


def _stored_array(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        return NotImplemented
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not _is_shape(sizes) or math.prod(sizes) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {sizes} does not take {len(data)} bytes")
    native = dtype.newbyteorder("=")

    def load() -> Tensor:
        return torch.from_numpy(np.frombuffer(data, dtype).reshape(sizes, order=order).astype(native))

    return Stored(tuple(sizes), str(native), load, numpy=True)


def _dtype(_: Unpickler, made: Made, __: int) -> Any:
    code = made.arguments[0] if made.arguments else None
    order = made.state[1] if isinstance(made.state, tuple) and len(made.state) > 1 else "="
    if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|c(8|16)", code) or order not in ("<", ">", "|", "="):
        return NotImplemented
    return np.dtype(f"{order}{code}")


def _scalar(u: Unpickler, made: Made, depth: int) -> Any:
    dtype = u.build(made.arguments[0], depth) if made.arguments else None
    return Inert(f"numpy.{dtype.newbyteorder('=')}" if isinstance(dtype, np.dtype) else "a numpy scalar")


_TORCH_NAMES = {f"torch.{name}": name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
_BUILTINS = ("builtins", "__builtin__")
_TENSORS: dict[str, Builder] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_qtensor": _without_values(_kind_of_storage, lambda made: made.arguments[2]),
    "torch._utils._rebuild_sparse_tensor": _without_values(lambda *_: "sparse", lambda made: made.arguments[1][2]),
    "torch._utils._rebuild_meta_tensor_no_storage": _without_values(lambda *_: "no", lambda made: made.arguments[1]),
}
_BUILDERS: dict[str, Builder] = {
    **_TENSORS,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch.storage._load_from_bytes": _in_the_file,
    "torch.Size": _elements,
    "torch.device": _text,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _ordered,
    "collections.defaultdict": _with_default,
    "_codecs.encode": _bytes,
    **{f"{module}.{kind}": _elements for module in _BUILTINS for kind in ("set", "frozenset")},
    **{f"{module}.{kind}": _bytes for module in _BUILTINS for kind in ("bytes", "bytearray")},
    **{f"{module}.complex": _complex for module in _BUILTINS},
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
}
