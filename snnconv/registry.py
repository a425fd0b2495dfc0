"""Registries: the sources, formats, engines, passes and reports that there are, snnconv's own and those of other packages.

Each kind of thing has one registry. An entry of snnconv's own is a name and the place of an object, imported once it is wanted:

    ENGINES = Registry("snnconv.engines", {"onnxruntime": "snnconv.engines.onnx_runtime:ENGINE"})

Another package adds its own under an entry point of the registry's group, in its pyproject.toml:

    [project.entry-points."snnconv.engines"]
    mine = "my_package.engine:ENGINE"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from snnconv.errors import InputError

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Registry(Generic[Entry]):
    """The entries of one kind, by their names.

    Attributes:
        group: the entry point group under which other packages add entries.
        own: `package.module:object` of each entry of snnconv's own, in the order in which they are asked.
    """

    group: str
    own: Mapping[str, str]
    _registered: dict[str, Entry] = field(default_factory=dict, repr=False)

    def register(self, name: str, entry: Entry) -> Entry:
        """Add an entry for this process, as a notebook or a test does. Raises `InputError` for a name that is taken."""
        if name in self:
            raise InputError(f"'{name}' is taken in {self.group}", "give it another name")
        self._registered[name] = entry
        return entry

    def discard(self, name: str) -> None:
        """Take away what `register` added."""
        self._registered.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """The names of all entries, snnconv's own first; nothing is imported."""
        return (*self.own, *self._registered, *self._foreign())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name. Raises `KeyError` if there is none."""
        if name in self.own:
            module, _, attribute = self.own[name].partition(":")
            entry: Entry = getattr(import_module(module), attribute)
            return entry
        if name in self._registered:
            return self._registered[name]
        return self._foreign()[name].load()

    def __iter__(self) -> Iterator[Entry]:
        """Every entry, imported as it is reached."""
        return (self[name] for name in self.names())

    def _foreign(self) -> dict[str, Any]:
        """The entry points of other packages. Raises `InputError` for one whose name is taken."""
        points: dict[str, Any] = {}
        for point in entry_points(group=self.group):
            if point.name in self.own or point.name in self._registered or point.name in points:
                raise InputError(f"{point.value}: '{point.name}' is taken in {self.group}", "another package must rename it")
            points[point.name] = point
        return points
