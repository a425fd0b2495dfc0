"""Verifying several artifacts of one source, one after the other, with progress that survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import snnconv
from snnconv.data import Samples, beginning
from snnconv.engines import Deployment
from snnconv.files import shown
from snnconv.results import Verification
from snnconv.sources import Source
from snnconv.verify import Plan, Progress, verify
from snnconv.verify.journal import Journal, open_journal
from snnconv.verify.reference import Reference


def verify_all(
    reference: Reference,
    path: Path,
    candidates: Sequence[tuple[Path, Deployment]],
    data: Samples,
    plan: Plan,
    begin: Callable[[str], Progress],
    resume: Path | None = None,
) -> tuple[list[Verification], Journal | None]:
    """Verify every candidate against the source, which was read from `path`.

    Of a file that snnconv did not write, the task alone is verified.

    With `resume`, progress is kept in that file and taken up from it; the journal is given back so that it can be dropped once
    the results are safe. `begin(name)` starts a stage of a progress display and returns its update function.
    """
    artifacts = [artifact for _, artifact in candidates]
    journal = None if resume is None else open_journal(resume, _identity(reference.source, artifacts, data, plan))
    found = [] if journal is None else list(journal.finished)
    for file, artifact in candidates[len(found) :]:
        names = (shown(path), shown(file))
        one = verify(reference, artifact, data, names, plan.of(artifact.foreign), begin(file.name), journal)
        found.append(one)
        if journal is not None:
            journal.finish(one)
    return found, journal


def _identity(source: Source, artifacts: Sequence[Deployment], data: Samples, plan: Plan) -> dict[str, str]:
    """What makes a run this run: with any of it changed, what a journal holds is of no use."""
    return {
        "source": source.sha256,
        "reference and settings": ", ".join([source.reference, *(f"{k} {v}" for k, v in sorted(source.settings.items()))]),
        "artifacts": ", ".join(artifact.sha256 for artifact in artifacts),
        "engines": ", ".join(artifact.runtime for artifact in artifacts),
        "data": f"{data.origin}, {data.length} samples, the first {beginning(data)}",
        "levels": ", ".join(plan.levels),
        "shard": "/".join(map(str, plan.shard or (1, 1))),
        "seed": str(plan.seed),
        "versions": f"snnconv {snnconv.__version__}, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
    }
