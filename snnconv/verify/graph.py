"""Level 1, the other half: the artifact's graph against a fresh export of a fresh fold.

Constants say what an artifact holds, its graph what it does with them. Whatever no input would ever show (another branch for rare
values, a comparison that differs at equality only, an unwatched entry) shows here. Code that a file brings along is held against
that of the export before it is loaded.
"""

from __future__ import annotations

from itertools import zip_longest

import torch
from torch import Tensor

import snnconv
from snnconv.artifact.formats import FORMATS
from snnconv.artifact.metadata import toolchain
from snnconv.artifact.script_file import ScriptFile
from snnconv.engines import Candidate, Deployment
from snnconv.errors import Refused
from snnconv.results import UNPROVEN, Check
from snnconv.verify.reference import Reference

_MADE = f"snnconv {snnconv.__version__} and torch {torch.__version__}"


def check_graph(reference: Reference, candidate: Candidate) -> Check:
    """Whether the artifact computes line by line what a fresh export computes.

    If it does not, it is unproven: exporters of other versions, and tools that work on a graph, write the same network in other
    lines. What it computes is then for the other levels to say.
    """
    lines, constants = reference.export(candidate.format, candidate.form, candidate.batch).outline
    found, held = candidate.structure(), candidate.constants()
    pairs = zip_longest(found, lines, fillvalue="nothing")
    first = next(((i, a, b) for i, (a, b) in enumerate(pairs) if a != b), None)
    if first is not None:
        i, has, expected = first
        others = other_writers(candidate)
        writers = f"it was written by {others}; " if others else ""
        said = f"the graph is not what {_MADE} export: {writers}line {i} is '{_short(has)}', not '{_short(expected)}'"
        return Check("proof", "graph", False, said, open=UNPROVEN)
    # Constants that a fold makes are judged each by its own rule (`snnconv.verify.constants`).
    folded = reference.constants(candidate.form)
    other = [name for name, value in constants.items() if name not in folded and not _same(held.get(name), value)]
    if other:
        return Check("proof", "graph", False, f"the constant {other[0]}, which no fold makes, is not what an export writes")
    return Check("proof", "graph", True, f"{len(lines)} lines as in a fresh export")


def _same(held: Tensor | None, value: Tensor) -> bool:
    return held is not None and torch.equal(held, value)


def other_writers(candidate: Candidate) -> str:
    """Which packages wrote the artifact, as it says, in other versions than those here; empty if none did."""
    here = toolchain(FORMATS[candidate.format].packages)
    written = candidate.artifact.metadata.toolchain
    return ", ".join(f"{name} {found}" for name, found in written.items() if here.get(name) != found)


def admitted(reference: Reference, deployed: Deployment, name: str, trusted: bool) -> Candidate:
    """The artifact ready to run: code that it brings along must be that of a fresh export, unless it is `trusted`.

    Raises `Refused` for code that is not ours; none of it has been run then.
    """
    brought = deployed.artifact
    if isinstance(brought, ScriptFile) and not isinstance(deployed, Candidate) and not trusted:
        ours = reference.export(deployed.format, deployed.form, deployed.batch).deployed.artifact
        found = brought.foreign(ours) if isinstance(ours, ScriptFile) else ""
        if found:
            raise Refused(
                f"{name}: its code is not what {_MADE} export, so it was not run: {found}",
                "if you trust whoever made it, let it run with --run-foreign-code",
            )
    return deployed.load()


def _short(line: str) -> str:
    return line if len(line) <= 160 else f"{line[:157]}..."
