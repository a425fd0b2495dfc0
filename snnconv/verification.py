"""Verifying the artifacts that a request names, one after the other, and judging each."""

from __future__ import annotations

from pathlib import Path

from snnconv.engines import Deployment, open_candidate
from snnconv.request import Begin, Loaded, Request, unseen
from snnconv.results.verdict import Verdict, judge
from snnconv.verify import Reference
from snnconv.verify.journal import Journal
from snnconv.verify.several import verify_all


def open_candidates(request: Request) -> list[tuple[Path, Deployment]]:
    """The artifacts of a request, read, each with the engine that is to run it; no code in them is run.

    Raises `InputError` for one that cannot be read and `BackendMissing` if its engine is not installed.
    """
    return [(path, open_candidate(path, request.engine)) for path in request.candidates]


def verify_candidates(
    request: Request, loaded: Loaded, opened: list[tuple[Path, Deployment]], begin: Begin = unseen
) -> tuple[list[Verdict], Journal | None]:
    """The verdict on each artifact of a request; the journal, if there is one, can be dropped once the results are safe."""
    reference, samples = Reference(loaded.source), loaded.samples
    found, journal = verify_all(reference, Path(loaded.name), opened, samples, request.plan, begin, request.resume)
    return [judge(one, request.policy) for one in found], journal


def verdicts(request: Request) -> list[Verdict]:
    """The same from reading to judging, without a display, as another process or machine runs it."""
    opened = open_candidates(request)
    found, journal = verify_candidates(request, request.load(), opened)
    if journal is not None:
        journal.discard()
    return found
