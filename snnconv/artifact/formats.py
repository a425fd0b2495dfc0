"""The formats of artifacts. A format is one object in one file, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snnconv.artifact.artifact import Artifact
from snnconv.artifact.metadata import describe
from snnconv.errors import BackendMissing, InputError
from snnconv.files import Content
from snnconv.hints import meant
from snnconv.ir.program import SpikingProgram
from snnconv.lower import Lowered, lower
from snnconv.registry import Registry

PROGRAM = "pt2"
"""The format of folded programs, snnconv's own: it can be verified, but is nothing to deploy."""


@dataclass(frozen=True)
class Export:
    """A folded program on its way into a file.

    Attributes:
        program: with the table of its neurons, their proofs and sites.
        form: "sequence" or "step".
        batch: a fixed batch size, or None for any.
        packages: those that write the file beside snnconv.
    """

    program: SpikingProgram
    form: str
    batch: int | None
    packages: tuple[str, ...] = ()

    @cached_property
    def lowered(self) -> Lowered:
        """Its graph in that form. Raises `Refused` for a program that still holds norms."""
        return lower(self.program, self.form)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the file says about itself, as JSON values."""
        return describe(self.program, self.form, self.batch, self.packages)


@dataclass(frozen=True)
class Format:
    """A format of artifacts.

    Attributes:
        name: as in `--format`.
        suffixes: of its files; the first is that of new ones.
        encode: the bytes of an export. Raises `Refused` if the format cannot hold it.
        read: an artifact from the bytes of its file, of which nothing is run. Raises `InputError`.
        packages: those that write it, whose versions its files record.
    """

    name: str
    suffixes: tuple[str, ...]
    encode: Callable[[Export], bytes]
    read: Callable[[Content], Artifact]
    packages: tuple[str, ...] = ("torch",)


FORMATS: Registry[Format] = Registry(
    "snnconv.formats",
    {
        PROGRAM: "snnconv.export.program:FORMAT",
        "onnx": "snnconv.export.onnx:FORMAT",
        "torchscript": "snnconv.export.torchscript:FORMAT",
    },
)


def format_names() -> tuple[str, ...]:
    """The names of the formats that a program can be exported to."""
    return tuple(name for name in FORMATS.names() if name != PROGRAM)


def format_of(path: Path, name: str | None = None, also: str = "") -> Format:
    """The format called `name` or, without one, that of the path's suffix, to export to.

    Raises `InputError` for an unknown one; `also` is what else helps against an unknown suffix.
    """
    if name is not None:
        names = format_names()
        if name in names:
            return FORMATS[name]
        raise InputError(f"--format '{name}' is unknown", f"{meant(name, names)}it is one of {', '.join(names)}")
    if path.suffix == ".pt2":
        raise InputError(f"{path}: a .pt2 is a folded program, no artifact", "snnconv fold makes it")
    found = with_suffix(path.suffix)
    if found is not None:
        return found
    suffixes = {suffix: name for name in format_names() for suffix in FORMATS[name].suffixes}
    known = ", ".join(f"{suffix} ({name})" for suffix, name in suffixes.items())
    raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"{meant(path.suffix, suffixes)}use one of {known}{also}")


def with_suffix(suffix: str) -> Format | None:
    """The first format whose files have that suffix."""
    return next((format for format in FORMATS if suffix in format.suffixes), None)


def read_artifact(content: Content, format: str | None = None) -> Artifact:
    """Read an artifact of `format`, or of the format of its suffix.

    Raises `InputError` for a file that cannot be read, `BackendMissing` if a package is needed that is not installed.
    """
    path = content.path
    try:
        found = with_suffix(path.suffix) if format is None else FORMATS[format]
    except ModuleNotFoundError as error:
        raise BackendMissing(f"{path}: needs the package '{error.name}'", f"pip install {error.name}") from error
    if found is None:
        suffixes = [suffix for format in FORMATS for suffix in format.suffixes]
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"a candidate is one of {', '.join(suffixes)}")
    return found.read(content)
