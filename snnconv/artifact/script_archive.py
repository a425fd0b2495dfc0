"""The records of a TorchScript archive, read without loading it: its code as text, its objects inert, its tensors as bytes.

`torch.jit.load` runs the `__setstate__` of a file, and its methods can do what they like. So code is held against code of ours
first (`ScriptArchive.outline`), and only the records that were looked at are ever loaded (`ScriptArchive.packed`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from snnconv.claims import check_span, check_total
from snnconv.files import Content, reading
from snnconv.inert_pickle import Made, Name, made_in, read_pickle

METADATA_FILE = "snnconv.json"

_OBJECTS = {"data.pkl": "data", "constants.pkl": "constants"}
"""The pickles of an archive, and the folder of each one's tensors."""
_ITEM_BYTES = {
    **{"Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4},
    **{"Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16},
}
_LOADED = re.compile(r"data\.pkl|constants\.pkl|(data|constants)/\w+|code/[\w/]+\.py")
_DEFINITION = re.compile(r"^(?=(?:class|def) )", re.MULTILINE)
_GIVEN = re.compile(r'"(?:[^"\\]|\\.)*"|__torch__(?:\.\w+)+|(?<![\w.])_\d+\b')
"""A literal, which is left alone, and the names that torch gives: of classes and functions, and of values within a record."""
_MANGLED = re.compile(r"___torch_mangle_\d+\.")


@dataclass(frozen=True)
class ScriptArchive:
    """`records` are all that is ever loaded, in the order of the file; `objects` are its pickles, inert.

    `version` says what the operators in its code mean: torch reads code of an earlier version as it was meant then.
    """

    records: dict[str, bytes]
    objects: dict[str, Any]
    metadata: bytes
    version: int

    def outline(self) -> Iterator[str]:
        """Everything but the bytes of tensors, line by line, with numbers of our own for classes and values: torch's go on from
        record to record and from export to export.

        The objects come first, then every definition in the order in which it is first mentioned, then any that never is.
        """
        names = _Names()
        yield f"version {self.version}"
        for record, value in self.objects.items():
            yield record
            yield from _flat(value, names)
        definitions = dict(self._definitions())
        for name in names.order:
            yield names(name)
            yield from _renamed(definitions.get(name, ""), names).splitlines()
        yield from (f"unused: {name}" for name in definitions if name not in names.order)

    def _definitions(self) -> Iterator[tuple[str, str]]:
        for record, content in self.records.items():
            if record.startswith("code/"):
                module = record.removeprefix("code/").removesuffix(".py").replace("/", ".")
                for text in filter(str.strip, _DEFINITION.split(content.decode())):
                    yield f"{module}.{re.split(r'[^A-Za-z0-9_]', text, maxsplit=2)[1]}", text

    def packed(self) -> io.BytesIO:
        """An archive of the records alone."""
        buffer = io.BytesIO()
        writer = torch._C.PyTorchFileWriter(buffer)
        writer.set_min_version(self.version)
        for name, record in self.records.items():
            writer.write_record(name, record, len(record))
        writer.write_end_of_file()
        buffer.seek(0)
        return buffer


def read_archive(content: Content) -> ScriptArchive:
    """Read the records of a TorchScript file. Raises `InputError` for one that is damaged or claims more than it holds."""
    with reading(content.path, "not a TorchScript file, or truncated", "export it again"):
        reader = torch._C.PyTorchFileReader(io.BytesIO(content.data))
        names = reader.get_all_records()
        if len(names) != len(set(names)):
            raise ValueError("a record stands there twice")
        check_total(sum(map(reader.get_record_size, names)), len(content.data))
        records = {name: bytes(reader.get_record(name)) for name in names if _LOADED.fullmatch(name)}
        objects = {name: read_pickle(records[name]) for name in _OBJECTS}
        extra = f"extra/{METADATA_FILE}"
        metadata = bytes(reader.get_record(extra)) if extra in names else b""
        archive = ScriptArchive(records, objects, metadata, version_of(reader))
        _check_tensors(archive, len(content.data))
        qualified = [name for name, _ in archive._definitions()]
        if len(qualified) != len(set(qualified)):
            raise ValueError("a definition stands there twice")
        return archive


def version_of(reader: torch._C.PyTorchFileReader) -> int:
    """The version of an archive's operators. Raises `ValueError` if it is no number."""
    named = [name for name in ("version", ".data/version") if name in reader.get_all_records()]
    return int(bytes(reader.get_record(named[0]))) if named else 0


def first_difference(found: ScriptArchive, ours: ScriptArchive) -> str:
    """The first line in which two archives differ in anything but the bytes of their tensors; empty if they do not."""
    pairs = zip_longest(found.outline(), ours.outline(), fillvalue="nothing")
    return next((f"'{_short(a)}', not '{_short(b)}'" for a, b in pairs if a != b), "")


class _Names:
    """Calls classes and functions by the order in which they are first mentioned."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._numbers: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        if name not in self._numbers:
            self._numbers[name] = len(self.order)
            self.order.append(name)
        return f"{_MANGLED.sub('', name)}#{self._numbers[name]}"


def _renamed(text: str, names: _Names) -> str:
    """A definition, its classes and functions called by `names`, its values by the order in which they appear."""
    values: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        given = match.group()
        if given.startswith('"'):
            return given
        return names(given) if given.startswith("__torch__") else values.setdefault(given, f"_{len(values)}")

    return _GIVEN.sub(rename, text)


def _flat(value: Any, names: _Names) -> Iterator[str]:
    """A value of a pickle part by part. It may be a tree of any size: whoever compares it stops at the first difference."""
    if isinstance(value, Name):
        yield names(str(value)) if value.module.startswith("__torch__") else str(value)
    elif isinstance(value, Made):
        yield "made"
        for part in (value.what, value.arguments, value.state):
            yield from _flat(part, names)
    elif isinstance(value, dict | list | tuple):
        yield f"{type(value).__name__} of {len(value)}"
        for part in [p for pair in value.items() for p in pair] if isinstance(value, dict) else value:
            yield from _flat(part, names)
    else:
        yield f"{type(value).__name__} {value!r}"


def _check_tensors(archive: ScriptArchive, size: int) -> None:
    """Raise `ValueError` unless every tensor lies within its storage, and every storage is all of its record."""
    claimed = 0
    for record, folder in _OBJECTS.items():
        for made in made_in(archive.objects[record]):
            if made.what is None:
                name, held = f"{folder}/{made.arguments[2]}", _storage_bytes(made)
                if len(archive.records[name]) != held:
                    raise ValueError(f"{name} should hold {held} bytes, but holds {len(archive.records[name])}")
            elif made.arguments and isinstance(made.arguments[0], Made) and made.arguments[0].what is None:
                storage, offset, shape, strides = made.arguments[:4]
                check_span(storage.arguments[4], offset, shape, strides)
                claimed += torch.Size(shape).numel() * _item_bytes(storage)
    check_total(claimed, size)


def _item_bytes(storage: Made) -> int:
    kind = str(storage.arguments[1]).removeprefix("torch.").removesuffix("Storage")
    if kind not in _ITEM_BYTES:
        raise ValueError(f"{kind} is no kind of storage")
    return _ITEM_BYTES[kind]


def _storage_bytes(storage: Made) -> int:
    return int(storage.arguments[4]) * _item_bytes(storage)


def _short(line: str) -> str:
    return line if len(line) <= 120 else f"{line[:117]}..."
