"""Deployment and task on the data, chunk by chunk; nothing of a chunk is kept but its tallies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from snnconv.data import Fingerprint
from snnconv.data.samples import Chunk
from snnconv.engines import RunFailure
from snnconv.results import Task, Verification
from snnconv.verify.deployment import Compared
from snnconv.verify.journal import Journal
from snnconv.verify.levels import Run
from snnconv.verify.running import ShapeMismatch, failure, run_bare
from snnconv.verify.task import tally_outputs, tally_outputs_bare

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done."""

_UNWATCHED = 16
"""Of every so many chunks, the first is also run unwatched."""


def verify_chunks(result: Verification, run: Run, progress: Progress, journal: Journal | None, began: float) -> Verification:
    """`result` with what the data shows; `began` is when the verification did, by `time.perf_counter`.

    An artifact that does not run as it should is a failed check behind what was seen before.
    """
    taken_up = 0 if journal is None else journal.next_chunk
    fingerprint = Fingerprint(result.data.fingerprint)
    try:
        for chunk in run.data.read(run.chunk_size, lambda index: index >= taken_up and run.plan.wants(index)):
            progress("data", 0.0 if not run.data.length else chunk.start / run.data.length)
            fingerprint.add(chunk.start, chunk.x, chunk.y)
            result = _add(result, *_seen(run, chunk))
            summary = replace(result.data, samples=result.data.samples + len(chunk.x), fingerprint=fingerprint.hex)
            result = replace(result, data=summary, seconds=time.perf_counter() - began)
            if journal is not None:
                journal.keep(result, chunk.index + 1)
    except (RunFailure, ShapeMismatch) as error:
        return replace(result, checks=(*result.checks, failure(error)))
    except BaseException:
        if journal is not None:
            journal.save()
        raise
    return result if run.plan.shard else replace(result, data=replace(result.data, length=result.data.samples))


def _seen(run: Run, chunk: Chunk) -> tuple[Compared | None, dict[str, Task]]:
    """What one chunk shows on the levels that are wanted."""
    names = run.reference.source.program.contract.readouts
    if not run.observes:
        reference, alone = run.reference.source.outputs(chunk.x), run_bare(run.candidate, chunk.x)
        tasks = tally_outputs(names, reference, alone, chunk.y)
        return None, tally_outputs_bare(tasks, reference, alone, alone)
    compared = run.compare(chunk.x, chunk.start)
    if "task" not in run.plan.levels:
        return compared, {}
    tasks = tally_outputs(names, compared.reference, compared.candidate, chunk.y, compared.explained)
    if chunk.index % _UNWATCHED:
        return compared, tasks
    outputs = compared.reference, compared.candidate, run_bare(run.candidate, chunk.x)
    return compared, tally_outputs_bare(tasks, *outputs, compared.output_bounds, compared.explained)


def _add(result: Verification, compared: Compared | None, tasks: dict[str, Task]) -> Verification:
    """`result` with what one more chunk has shown."""
    layers = result.layers
    if compared is not None:
        layers = tuple(a + b for a, b in zip(layers, compared.layers, strict=True)) if layers else tuple(compared.layers)
    difference = result.difference or (compared.difference if compared is not None else None)
    before = result.tasks
    totals = {name: before[name] + task if name in before else task for name, task in tasks.items()}
    return replace(result, layers=layers, difference=difference).with_tasks(totals)
