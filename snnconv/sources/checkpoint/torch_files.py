"""Torch's two file formats, and plain pickles. Nothing in them is run."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, NoReturn

import torch

from snnconv.claims import check_total
from snnconv.inert_pickle import Made, made_in, read_any_pickle
from snnconv.sources.checkpoint.unpickling import Unpickler, element_bytes

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")


def read_zip(data: bytes) -> Any:
    """The value of an archive: a pickle, and a member for every storage, whose checksum is checked when it is read.

    Raises `ValueError` if it is damaged.
    """
    archive = zipfile.ZipFile(BytesIO(data))
    names = archive.namelist()
    if len(names) != len(set(names)):
        raise ValueError("a member stands there twice")
    check_total(sum(member.file_size for member in archive.infolist()), len(data))
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ValueError("it has not one data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")

    def reading(identity: tuple[Any, ...], dtype: torch.dtype) -> Callable[[], bytes]:
        return lambda: archive.read(f"{folder}data/{identity[2]}")

    return Unpickler(len(data), reading, _read_nested).build(read_any_pickle(BytesIO(archive.read(pickles[0]))))


def read_pickles(data: bytes) -> Any:
    """The value of the format before torch 1.6, which is a row of pickles and then the values of all storages, or of a pickle.

    Raises `ValueError` if it is damaged.
    """
    return _read_pickles(data, _read_nested)


def _read_nested(data: bytes) -> Any:
    return _read_pickles(data, _no_deeper)


def _no_deeper(_: bytes) -> NoReturn:
    raise ValueError("a torch file in a torch file in a pickle")


def _read_pickles(data: bytes, nested: Callable[[bytes], Any]) -> Any:
    file = BytesIO(data)
    first = read_any_pickle(file)
    if first != _MAGIC:
        return Unpickler(len(data), _no_storage, nested).build(first)
    protocol, system = read_any_pickle(file), read_any_pickle(file)
    if protocol != _PROTOCOL or not system.get("little_endian", True):
        raise ValueError("its protocol is unknown, or its numbers are big-endian")
    value, keys = read_any_pickle(file), read_any_pickle(file)
    places = _places(data, file.tell(), keys, {made.arguments[2]: width for made, width in _storages(value)})

    def reading(identity: tuple[Any, ...], dtype: torch.dtype) -> Callable[[], bytes]:
        start, end = places[identity[2]]
        if len(identity) > 5 and identity[5] is not None:
            _, offset, count = identity[5]
            start, end = start + offset * dtype.itemsize, start + (offset + count) * dtype.itemsize
        return lambda: data[start:end]

    return Unpickler(len(data), reading, nested).build(value)


def _storages(value: Any) -> Iterator[tuple[Made, int]]:
    """Every storage that an inert value names, with the width of its elements in bytes."""
    for made in made_in(value):
        if made.what is None and made.arguments[:1] == ("storage",):
            yield made, element_bytes(made.arguments[1])


def _places(data: bytes, start: int, keys: list[Any], widths: dict[Any, int]) -> dict[Any, tuple[int, int]]:
    """Where the values of each storage begin and end: they stand in the order of `keys`, each behind its number of elements."""
    places = {}
    for key in keys:
        (count,) = _COUNT.unpack_from(data, start)
        end = start + _COUNT.size + count * widths[key]
        if count < 0 or end > len(data):
            raise ValueError("the file ends within a tensor")
        places[key] = start + _COUNT.size, end
        start = end
    return places


def _no_storage(identity: tuple[Any, ...], dtype: torch.dtype) -> NoReturn:
    raise ValueError("a plain pickle has no storages")
