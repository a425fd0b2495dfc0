"""Level 1, the other half: the artifact's graph against a fresh export of a fresh fold.

Constants say what an artifact holds, its graph what it does with them. Whatever no input would ever show (another branch for rare
values, a comparison that differs at equality only, an unwatched entry) shows here.
"""

from __future__ import annotations

import tempfile
from itertools import zip_longest
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

import snnconv
from snnconv import pt2
from snnconv.export import FORMATS, export
from snnconv.lower import lower
from snnconv.program import SpikingProgram, TimeContract
from snnconv.results import Check
from snnconv.runtimes import Candidate, open_candidate

_Outline = tuple[list[str], dict[str, Tensor]]
_exported: WeakKeyDictionary[fx.GraphModule, dict[tuple[TimeContract, str, str, int | None], _Outline]] = WeakKeyDictionary()


def check_structure(folded: SpikingProgram, candidate: Candidate) -> Check:
    """Whether the artifact computes line by line what an export of `folded`, a fresh fold of the source, computes."""
    lines, constants = _fresh(folded, candidate)
    found, held = candidate.structure(), candidate.constants()
    pairs = zip_longest(found, lines, fillvalue="nothing")
    first = next(((i, a, b) for i, (a, b) in enumerate(pairs) if a != b), None)
    if first is not None:
        i, has, expected = first
        made = f"snnconv {snnconv.__version__} and torch {torch.__version__}"
        detail = f"not what {made} export: line {i} is '{_short(has)}', not '{_short(expected)}'"
        return Check("proof", "graph", False, detail)
    numbers = [name for name, value in constants.items() if name not in held or not torch.equal(held[name], value)]
    other = [name for name in numbers if name not in _folded(folded, candidate)]
    if other:
        return Check("proof", "graph", False, f"the constant {other[0]}, which no fold makes, is not what an export writes")
    return Check("proof", "graph", True, f"{len(lines)} lines as in a fresh export")


def _fresh(folded: SpikingProgram, candidate: Candidate) -> _Outline:
    """The outline and the constants of a fresh export in the candidate's format, made once per fold."""
    made = _exported.setdefault(folded.graph, {})
    key = (folded.contract, candidate.format, candidate.form, candidate.batch)
    if key not in made:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fresh"
            suffix = ".pt2"
            if candidate.format == "pt2":
                pt2.save(folded, path)
            else:
                format = next(f for f in FORMATS if f.name == candidate.format)
                suffix = format.suffixes[0]
                export(folded, path, format, candidate.form, candidate.batch)
            fresh = open_candidate(path, suffix)
            made[key] = fresh.structure(), fresh.constants()
    return made[key]


def _folded(folded: SpikingProgram, candidate: Candidate) -> set[str]:
    """The constants that the rest of the proof judges, each by its own rule."""
    return set(lower(folded, candidate.form).constants())


def _short(line: str) -> str:
    return line if len(line) <= 160 else f"{line[:157]}..."
