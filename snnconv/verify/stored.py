"""Level 1, what a `.pt2` holds beside its network: what became of each norm, the proofs, and the program that was folded.

Nothing of it runs, and yet people rely on it: the embedded source is what `snnconv export` verifies against.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import zip_longest

import torch
from torch import Tensor

from snnconv.artifact.program_file import ProgramFile
from snnconv.engines import Deployment
from snnconv.ir import pt2
from snnconv.ir.program import Origin, SpikingProgram, ThresholdProof
from snnconv.results import Check


def check_stored(folded: SpikingProgram, artifact: Deployment) -> list[Check]:
    """Whether a `.pt2` tells of the norms, proofs and source what `folded`, a fresh fold of the source, tells."""
    if not isinstance(artifact.artifact, ProgramFile):
        return []
    found = artifact.artifact.program
    return [
        _check("sites", _sites(found, folded), f"{len(folded.sites)} outcomes as in a fresh fold"),
        _check("stored proofs", _proofs(found, folded), f"{len(folded.proofs)} proofs as in a fresh fold"),
        _check("embedded source", _sources(found, folded), "the program that was folded"),
    ]


def stored_notes(folded: SpikingProgram, artifact: Deployment) -> tuple[str, ...]:
    """What is worth knowing about the proofs of a `.pt2`, and no fault."""
    if not isinstance(artifact.artifact, ProgramFile):
        return ()
    here = {proof.kernel for proof in folded.proofs.values()}
    there = sorted({proof.kernel for proof in artifact.artifact.program.proofs.values()} - here)
    if not there or not here:
        return ()
    return (f"the artifact's thresholds were proven on {', '.join(there)}, here on {', '.join(sorted(here))}",)


def _check(name: str, problems: Iterator[str], agreed: str) -> Check:
    first = next(problems, "")
    return Check("proof", name, not first, first or agreed)


def _sites(found: SpikingProgram, fresh: SpikingProgram) -> Iterator[str]:
    for has, expected in zip_longest(found.sites, fresh.sites):
        if has is None or expected is None:
            yield f"{(has or expected).path} is {'missing' if has is None else 'no norm of the source'}"
        elif has != expected:
            unlike = [f.name for f in fields(has) if getattr(has, f.name) != getattr(expected, f.name)]
            yield f"{expected.path}: another {', '.join(unlike)} than in a fresh fold"


def _proofs(found: SpikingProgram, fresh: SpikingProgram) -> Iterator[str]:
    for name in {**fresh.proofs, **found.proofs}:
        if name not in found.proofs or name not in fresh.proofs:
            yield f"{name} {'has no proof' if name in fresh.proofs else 'has a proof of a norm that it never had'}"
        else:
            unlike = _unlike(_proven(found.proofs[name]), _proven(fresh.proofs[name]))
            yield from (f"the proof of {name} is of another {part}" for part in unlike)


def _proven(proof: ThresholdProof) -> dict[str, object]:
    """What a proof is about; on which kernel it was made is a note."""
    return {**vars(proof.norm), "threshold": proof.threshold, "strict": proof.strict}


def _sources(found: SpikingProgram, fresh: SpikingProgram) -> Iterator[str]:
    has, expected = found.source, fresh.source
    if has is None or expected is None:
        yield "there is none"
        return
    pairs = zip_longest(pt2.outline(has), pt2.outline(expected), fillvalue="nothing")
    yield from (f"its graph has '{a[:100]}', not '{b[:100]}'" for a, b in pairs if a != b)
    yield from (f"its {name} differs" for name in _unlike(pt2.constants(has), pt2.constants(expected)))
    yield from (f"its contract has another {name}" for name in _unlike(vars(has.contract), vars(expected.contract)))
    if has.origin != found.origin:
        yield f"its origin has another {', '.join(_unlike(vars(has.origin), vars(found.origin)))} than the artifact's own"
    told = _told(has.origin)
    if not has.origin.reference:  # of an older file
        told["reference"] = expected.origin.reference
    yield from (f"its origin has another {name}" for name in _unlike(told, _told(expected.origin)))


def _told(origin: Origin) -> dict[str, object]:
    """An origin without the file, which verify notes by itself, and without the places where settings were found."""
    settings = {name: re.sub(r" \([^()]*\)$", "", value) for name, value in origin.settings.items()}
    return {"arch": origin.arch, "reference": origin.reference, "settings": settings}


def _unlike(found: Mapping[str, object], expected: Mapping[str, object]) -> list[str]:
    return [name for name in {**expected, **found} if not _same(found.get(name), expected.get(name))]


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b
