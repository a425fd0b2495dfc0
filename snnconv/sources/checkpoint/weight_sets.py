"""The sets of weights in a checkpoint, and which of them is meant.

A set is a dict with tensors in it, anywhere in the file. `--weights` names one by its keys, as in `checkpoint/model_ema`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnconv.errors import InputError, plain
from snnconv.hints import meant
from snnconv.sources.checkpoint.values import Inert, Stored, walk

USUAL = ("state_dict", "model", "net", "model_state_dict", "network", "weights", "params")
"""What files call the weights of their network, the first preferred."""
_COPY = re.compile(r"(?<![a-z])(ema|swa|averaged|average|shadow)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class WeightSet:
    """The tensors of one dict by their keys, the keys that lead to it, and its keys of what only code could make."""

    path: tuple[str, ...]
    tensors: dict[str, Stored]
    inert: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """How `--weights` calls it; empty for the whole file."""
        return "/".join(self.path)

    @property
    def where(self) -> str:
        """The keys that lead to it in words, the innermost first; empty for the whole file."""
        return " in ".join(f"'{key}'" for key in reversed(self.path))


def weight_sets(value: Any) -> list[WeightSet]:
    """Every set of weights in the value of a file, the outer before the inner."""
    found = []
    for path, inner in walk(value):
        if isinstance(inner, Mapping):
            tensors = {str(key): part for key, part in inner.items() if isinstance(part, Stored)}
            inert = frozenset(str(key) for key, part in inner.items() if isinstance(part, Inert))
            found += [WeightSet(path, tensors, inert)] if tensors else []
    return found


def joined(sets: Sequence[WeightSet]) -> list[WeightSet]:
    """For every dict that holds several sets, the set of all of their tensors: a network that was saved part by part."""
    parts: dict[tuple[str, ...], list[WeightSet]] = {}
    for one in sets:
        if one.path:
            parts.setdefault(one.path[:-1], []).append(one)
    return [
        WeightSet(path, {f"{one.path[-1]}.{key}": value for one in several for key, value in one.tensors.items()})
        for path, several in parts.items()
        if len(several) > 1
    ]


def named(sets: Sequence[WeightSet], name: str, file: Path) -> WeightSet:
    """The set that `--weights` names, by all of its keys or by the last ones. Raises `InputError` if there is not one."""
    found = [one for one in sets if one.name == name] or [one for one in sets if f"/{one.name}".endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    names = [one.name for one in found or sets if one.name]
    problem = "names several sets of weights" if found else "is no set of weights"
    todo = (
        f"{'' if found else meant(name, names)}there are {listed(names)}" if names else "leave it out: all of the file is one set"
    )
    raise InputError(f"{file}: --weights '{name}' {problem}", todo)


def is_copy(name: str) -> bool:
    """Whether a set or a prefix calls itself an average of weights over training."""
    return bool(_COPY.search(name))


def preferred(sets: Sequence[WeightSet]) -> WeightSet | None:
    """The set that is meant among several that fit: no copy, and with the most usual name. None if no rule tells."""
    originals = [one for one in sets if not is_copy(one.name)] or list(sets)
    if len(originals) == 1:
        return originals[0]
    ranks = [(USUAL.index(one.path[-1]), i) for i, one in enumerate(originals) if one.path and one.path[-1] in USUAL]
    return originals[min(ranks)[1]] if ranks else None


def listed(names: Sequence[str], most: int = 3) -> str:
    """The names in words, the first few of many: `'a', 'b', 'c' and 2 more`."""
    shown = ", ".join(f"'{in_line(name)}'" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def in_line(text: str) -> str:
    """`text` of a file made fit for a message of one line."""
    return plain(text).replace("\n", "\\n")
