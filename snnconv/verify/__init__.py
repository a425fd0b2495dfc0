"""Verifying: is the artifact the network that was trained? Four levels; `snnconv.results.verdict` judges what they find.

contract     time steps, input, read-out and shapes agree (always)
proof        every constant of the artifact against a fresh fold of the source, its graph against a fresh export
algebra      source and artifact in float64: same spikes
deployment   the artifact in its engine, on probes and on data: every potential and spike of every layer
task         decisions and logits
"""

from __future__ import annotations

import time
from dataclasses import replace

from snnconv.artifact.artifact import Foreign
from snnconv.data import Fingerprint, Samples, beginning
from snnconv.engines import Deployment, RunFailure
from snnconv.errors import InputError
from snnconv.results import Check, DataSummary, Verification
from snnconv.sources import Source
from snnconv.verify.chunks import Progress, verify_chunks
from snnconv.verify.contract import check_contract, check_foreign
from snnconv.verify.graph import admitted
from snnconv.verify.journal import Journal
from snnconv.verify.levels import BEFORE_DATA, Run, judge_probes
from snnconv.verify.plan import TASK_ALONE, Plan
from snnconv.verify.reference import Reference
from snnconv.verify.running import ShapeMismatch, failure
from snnconv.verify.stored import stored_notes
from snnconv.verify.summary import environment, thresholds

__all__ = ["Plan", "Progress", "Reference", "verify"]


def verify(
    reference: Reference,
    artifact: Deployment,
    data: Samples,
    names: tuple[str, str],
    plan: Plan | None = None,
    progress: Progress = lambda stage, share: None,
    journal: Journal | None = None,
    fresh: bool = False,
) -> Verification:
    """Verify `artifact` against `reference` on `data`; `names` are those of the source and of the candidate.

    Args:
        journal: where progress is kept, and where a run that was interrupted goes on.
        fresh: whether the artifact was exported from the reference's own fold just now, so that another export shows nothing.

    Raises `Refused` for code in the artifact that is not snnconv's, unless the plan lets it run, and `InputError` for more than
    the task of a file that snnconv did not write.
    """
    began, plan = time.perf_counter(), plan or Plan()
    expected, brought = reference.source.program.contract, artifact.artifact
    if isinstance(brought, Foreign):
        if plan.levels != TASK_ALONE:
            raise InputError(f"{names[1]}: carries no snnconv metadata", "only --level task is possible")
        artifact = replace(artifact, artifact=brought.under(expected))
    result = _begun(reference.source, artifact, data, names, plan)
    contract = check_foreign(expected, brought) if isinstance(brought, Foreign) else check_contract(expected, artifact.contract)
    if not contract.passed:
        return replace(result, checks=(contract,), seconds=time.perf_counter() - began)
    candidate = admitted(reference, artifact, names[1], fresh or plan.run_foreign_code)
    run = Run(reference, candidate, data, plan, fresh)
    if journal is not None and journal.partial is not None:
        result = journal.partial
        began -= result.seconds
    else:
        result = replace(result, checks=(contract,), notes=(*result.notes, *stored_notes(reference.folded, candidate)))
        try:
            result = _before_data(result, run, progress)
        except _Stopped as stopped:
            return replace(stopped.result, seconds=time.perf_counter() - began)
    if run.observes or "task" in plan.levels:
        result = verify_chunks(result, run, progress, journal, began)
    return replace(result, seconds=time.perf_counter() - began)


class _Stopped(Exception):
    """The artifact does not run: there is no more to see than `result`."""

    def __init__(self, result: Verification) -> None:
        super().__init__()
        self.result = result


def _before_data(result: Verification, run: Run, progress: Progress) -> Verification:
    """`result` with what does not depend on all of the data. Raises `_Stopped`."""
    if not run.plan.leads:
        return result
    checks: list[Check] = list(result.checks)
    try:
        for level in BEFORE_DATA:
            if level.name in run.plan.levels:
                progress(level.name, 0.0)
                checks += level.check(run)
        found = judge_probes(run) if run.observes else []
    except (RunFailure, ShapeMismatch) as error:
        raise _Stopped(replace(result, checks=(*checks, failure(error)))) from error
    return replace(result, checks=tuple(checks), probes=tuple(found), thresholds=thresholds(run.reference.folded))


def _begun(source: Source, artifact: Deployment, data: Samples, names: tuple[str, str], plan: Plan) -> Verification:
    """What is known before anything is checked."""
    arch = source.program.origin.arch
    return Verification(
        *(names[0], source.sha256, arch, names[1], artifact.sha256, artifact.runtime, artifact.form),
        data=DataSummary(data.origin, 0, Fingerprint().hex, data.length, beginning(data)),
        levels=plan.levels,
        reference=source.reference,
        settings=source.settings,
        environment=environment(artifact),
        shard=plan.shard,
        notes=_notes(source, artifact, plan),
    )


def _notes(source: Source, artifact: Deployment, plan: Plan) -> tuple[str, ...]:
    notes = list(source.notes)
    if not artifact.sha256_of_source:
        notes.append("the file carries no snnconv metadata: it was run as the source's contract says, and nothing else is known")
    elif artifact.sha256_of_source != source.program.origin.sha256:
        notes.append("the artifact names another checkpoint file as its source")
    if plan.run_foreign_code and artifact.format == "torchscript":
        notes.append("the artifact's code was run without being held against snnconv's first (--run-foreign-code)")
    return tuple(notes)
