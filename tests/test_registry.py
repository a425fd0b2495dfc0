"""A registry holds snnconv's own entries, those of installed packages, and those of this process; each name is there once."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from snnconv import registry
from snnconv.errors import InputError
from snnconv.registry import Registry

OWN = {"sqrt": "math:sqrt", "heavy": "json.tool:main"}


def points(monkeypatch: pytest.MonkeyPatch, *found: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in found if p.group == group])


def test_names_import_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "json.tool", raising=False)
    entries: Registry[object] = Registry("a.group", OWN)
    assert entries.names() == ("sqrt", "heavy") and "heavy" in entries and "json.tool" not in sys.modules
    assert entries["sqrt"](9) == 3


def test_other_packages_add_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, EntryPoint("floor", "math:floor", "a.group"), EntryPoint("ceil", "math:ceil", "another.group"))
    entries: Registry[object] = Registry("a.group", OWN)
    assert entries.names() == ("sqrt", "heavy", "floor") and entries["floor"](2.5) == 2


def test_a_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: Registry[object] = Registry("a.group", OWN)
    entries.register("mine", 1)
    with pytest.raises(InputError, match="'mine' is taken"):
        entries.register("mine", 2)
    points(monkeypatch, EntryPoint("sqrt", "cmath:sqrt", "a.group"))
    with pytest.raises(InputError, match="cmath:sqrt: 'sqrt' is taken"):
        entries.names()
    points(monkeypatch, EntryPoint("floor", "math:floor", "a.group"), EntryPoint("floor", "numpy:floor", "a.group"))
    with pytest.raises(InputError, match="numpy:floor: 'floor' is taken"):
        entries.names()


def test_what_was_registered_can_be_taken_away() -> None:
    entries: Registry[object] = Registry("a.group", {})
    assert entries.register("mine", 1) == 1 and list(entries) == [1]
    entries.discard("mine")
    assert list(entries) == []
    with pytest.raises(KeyError):
        entries["mine"]
