"""Level 1, the other half: the artifact's graph against a fresh export of a fresh fold.

Constants say what an artifact holds, its graph what it does with them. Whatever no input would ever show (another branch for rare
values, a comparison that differs at equality only, an unwatched entry) shows here. Code that a file brings along is held against
that of the export before it is loaded.
"""

from __future__ import annotations

from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

import snnconv
from snnconv.engines import Artifact, Candidate, open_content
from snnconv.engines.torchscript import Script
from snnconv.errors import Refused
from snnconv.export import FORMATS, encode
from snnconv.files import Content
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram, TimeContract
from snnconv.lower import lower
from snnconv.results import Check

_MADE = f"snnconv {snnconv.__version__} and torch {torch.__version__}"


def check_structure(folded: SpikingProgram, candidate: Candidate) -> Check:
    """Whether the artifact computes line by line what an export of `folded`, a fresh fold of the source, computes."""
    lines, constants = _exported(folded, candidate).outline
    found, held = candidate.structure(), candidate.constants()
    pairs = zip_longest(found, lines, fillvalue="nothing")
    first = next(((i, a, b) for i, (a, b) in enumerate(pairs) if a != b), None)
    if first is not None:
        i, has, expected = first
        detail = f"not what {_MADE} export: line {i} is '{_short(has)}', not '{_short(expected)}'"
        return Check("proof", "graph", False, detail)
    numbers = [name for name, value in constants.items() if name not in held or not torch.equal(held[name], value)]
    other = [name for name in numbers if name not in _folded(folded, candidate)]
    if other:
        return Check("proof", "graph", False, f"the constant {other[0]}, which no fold makes, is not what an export writes")
    return Check("proof", "graph", True, f"{len(lines)} lines as in a fresh export")


def admitted(folded: SpikingProgram, artifact: Artifact, name: str, trusted: bool) -> Candidate:
    """The artifact ready to run: code that it brings along must be that of an export of `folded`, unless it is `trusted`.

    Raises `Refused` for code that is not ours; none of it has been run then.
    """
    if isinstance(artifact, Script) and not trusted:
        ours = _exported(folded, artifact).artifact
        found = artifact.foreign(ours) if isinstance(ours, Script) else ""
        if found:
            raise Refused(
                f"{name}: its code is not what {_MADE} export, so it was not run: {found}",
                "if you trust whoever made it, let it run with --run-foreign-code",
            )
    return artifact.load()


class _Fresh:
    """A fresh export: as it is read back, and, once somebody asks, what it computes and holds."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    @cached_property
    def outline(self) -> tuple[list[str], dict[str, Tensor]]:
        candidate = self.artifact.load()
        return candidate.structure(), candidate.constants()


_exports: WeakKeyDictionary[fx.GraphModule, dict[tuple[TimeContract, str, str, int | None], _Fresh]] = WeakKeyDictionary()


def _exported(folded: SpikingProgram, artifact: Artifact) -> _Fresh:
    """A fresh export in the artifact's format, made once per fold."""
    made = _exports.setdefault(folded.graph, {})
    key = (folded.contract, artifact.format, artifact.form, artifact.batch)
    if key not in made:
        format = next((f for f in FORMATS if f.name == artifact.format), None)
        data = pt2.encode(folded) if format is None else encode(folded, format, artifact.form, artifact.batch)
        suffix = ".pt2" if format is None else format.suffixes[0]
        made[key] = _Fresh(open_content(Content(Path(f"a fresh export{suffix}"), data)))
    return made[key]


def _folded(folded: SpikingProgram, candidate: Candidate) -> set[str]:
    """The constants that the rest of the proof judges, each by its own rule."""
    return set(lower(folded, candidate.form).constants())


def _short(line: str) -> str:
    return line if len(line) <= 160 else f"{line[:157]}..."
