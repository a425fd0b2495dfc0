"""Verifying: is the artifact the network that was trained? Four levels; `snnconv.results.verdict` judges what they find.

contract     time steps, input, read-out and shapes agree (always)
proof        every constant of the artifact against a fresh fold of the source
algebra      source and artifact in float64: same spikes
deployment   the artifact in its runtime, on probes and on data: every potential and spike of every layer
task         decisions and logits
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from snnconv.data import Fingerprint, Samples, beginning, first
from snnconv.engines import Artifact, Candidate, RunFailure
from snnconv.errors import InputError
from snnconv.fold import fold, twin
from snnconv.ir.program import SpikingProgram, TimeContract
from snnconv.results import Check, DataSummary, Probe, Task, Verification
from snnconv.results.verdict import LEVELS
from snnconv.sources import Source
from snnconv.verify.algebra import check_algebra
from snnconv.verify.deployment import Judged, ShapeMismatch, judge, observe, run_bare
from snnconv.verify.journal import Journal
from snnconv.verify.probes import check_comparisons, extremes, near_thresholds
from snnconv.verify.proof import check_constants
from snnconv.verify.rounding import Magnitudes
from snnconv.verify.stored import check_stored, stored_notes
from snnconv.verify.structure import admitted, check_structure
from snnconv.verify.summary import environment, thresholds

__all__ = ["Plan", "verify"]

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done."""

_CHUNK_POTENTIALS = 2**24
"""How many potentials, of all layers and steps, are judged at once: they and their spikes are what memory is needed for."""
_LARGEST_CHUNK = 80
_UNWATCHED = 16
"""Of every so many chunks, the first is also run unwatched."""
_ALGEBRA_SAMPLES = 2


@dataclass(frozen=True)
class _Pair:
    """What is compared: the source, its fold, and the artifact."""

    source: Source
    folded: SpikingProgram
    candidate: Candidate

    @cached_property
    def magnitudes(self) -> Magnitudes:
        return Magnitudes(self.source.program)

    @property
    def chunk_size(self) -> int:
        return chunk_size(self.folded, self.candidate)

    def judge(self, x: Tensor, start: int, nearest: bool = False) -> Judged:
        """Run both on `x`, whose first sample is number `start`."""
        return judge(self.source, self.folded, x, observe(self.candidate, x), start, nearest, self.magnitudes)


@dataclass(frozen=True)
class Plan:
    """What to check: the levels, `(i, n)` for every n-th chunk of the data only, and the seed of the probes.

    `run_foreign_code` takes the risk of running a TorchScript file of which the code is not snnconv's.
    """

    levels: tuple[str, ...] = LEVELS
    shard: tuple[int, int] | None = None
    seed: int = 0
    run_foreign_code: bool = False

    def __post_init__(self) -> None:
        unknown = [level for level in self.levels if level not in LEVELS]
        if unknown or not self.levels:
            raise InputError(f"unknown level '{', '.join(unknown)}'", f"levels are {', '.join(LEVELS)}")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise InputError(f"shard {self.shard[0]}/{self.shard[1]} does not exist", "shards are 1/n to n/n")

    def wants(self, chunk: int) -> bool:
        """Whether this run reads chunk number `chunk`."""
        return self.shard is None or chunk % self.shard[1] == self.shard[0] - 1

    @property
    def leads(self) -> bool:
        """Whether this run checks what does not depend on the data: the whole run and the first shard do."""
        return self.shard is None or self.shard[0] == 1


def verify(
    source: Source,
    candidate: Artifact,
    data: Samples,
    names: tuple[str, str],
    plan: Plan | None = None,
    progress: Progress = lambda stage, share: None,
    folded: SpikingProgram | None = None,
    journal: Journal | None = None,
    fresh: bool = False,
) -> Verification:
    """Verify `candidate` against `source` on `data`; `names` are those of the source and of the candidate.

    Args:
        folded: a fold of this very source, made in this process; without it the source is folded anew.
        journal: where progress is kept, and where it goes on from.
        fresh: whether the candidate was exported from `folded` just now, so that another export would show nothing.

    Raises `Refused` for code in the candidate that is not snnconv's, unless the plan lets it run.
    """
    began = time.perf_counter()
    plan = plan or Plan()
    result = _begun(source, candidate, data, names, plan)
    contract = _contract(source.program.contract, candidate.contract)
    if not contract.passed:
        return replace(result, checks=(contract,), seconds=time.perf_counter() - began)
    folded = folded or fold(source.program)
    pair = _Pair(source, folded, admitted(folded, candidate, names[1], fresh or plan.run_foreign_code))
    result = replace(result, notes=(*result.notes, *stored_notes(folded, candidate)))
    if journal is not None and journal.partial is not None:
        result = journal.partial
        began -= result.seconds
    else:
        checks = [contract]
        try:
            probes = _whole(checks, pair, data, plan, progress, fresh) if plan.leads else []
        except (RunFailure, ShapeMismatch) as error:
            return replace(result, checks=(*checks, _failure(error)), seconds=time.perf_counter() - began)
        shown = thresholds(pair.folded) if plan.leads else ()
        result = replace(result, checks=tuple(checks), probes=tuple(probes), thresholds=shown)
    result = _on_data(result, pair, data, plan, progress, journal, began)
    return replace(result, seconds=time.perf_counter() - began)


def _begun(source: Source, candidate: Artifact, data: Samples, names: tuple[str, str], plan: Plan) -> Verification:
    """What is known before anything is checked."""
    arch = source.program.origin.arch
    return Verification(
        *(names[0], source.sha256, arch, names[1], candidate.sha256, candidate.runtime, candidate.form),
        data=DataSummary(data.origin, 0, Fingerprint().hex, data.length, beginning(data)),
        levels=plan.levels,
        reference=source.reference,
        settings=source.settings,
        environment=environment(candidate),
        shard=plan.shard,
        notes=_notes(source, candidate, plan),
    )


def _whole(checks: list[Check], pair: _Pair, data: Samples, plan: Plan, progress: Progress, fresh: bool) -> list[Probe]:
    """What does not depend on all of the data: proof and algebra, added to `checks`, and probes."""
    source, folded, candidate = pair.source, pair.folded, pair.candidate
    if {"proof", "algebra"} & set(plan.levels):
        progress("proof", 0.0)
        folded64 = twin(fold(source.to(torch.float64).program), folded)
        if "proof" in plan.levels:
            checks += check_constants(folded, folded64, candidate)
            checks += [] if fresh else [check_structure(folded, candidate), *check_stored(folded, candidate)]
        if "algebra" in plan.levels:
            progress("algebra", 0.0)
            checks += check_algebra(source, folded64, candidate, first(data, _ALGEBRA_SAMPLES))
    if "deployment" not in plan.levels:
        return []
    progress("probes", 0.0)
    some = first(data, _ALGEBRA_SAMPLES)
    checks += check_comparisons(folded, candidate, some)
    kinds = {"extreme": extremes(folded.contract), "threshold": near_thresholds(folded, some, plan.seed)}
    return [_probe(name, x, pair) for name, x in kinds.items() if len(x)]


def _probe(name: str, x: Tensor, pair: _Pair) -> Probe:
    parts = [pair.judge(part, i * pair.chunk_size, nearest=True) for i, part in enumerate(x.split(pair.chunk_size))]
    layers = parts[0].layers
    for part in parts[1:]:
        layers = [a + b for a, b in zip(layers, part.layers, strict=True)]
    reached = {layer: [p.nearest[layer] for p in parts] for layer in parts[0].nearest}
    nearest = {layer: min((units for units in all_ if units is not None), default=None) for layer, all_ in reached.items()}
    return Probe(name, len(x), tuple(layers), nearest)


def _on_data(
    result: Verification,
    pair: _Pair,
    data: Samples,
    plan: Plan,
    progress: Progress,
    journal: Journal | None,
    began: float,
) -> Verification:
    """Deployment and task, chunk by chunk; nothing of a chunk is kept but its tallies."""
    if not {"deployment", "task"} & set(plan.levels):
        return result
    taken_up = 0 if journal is None else journal.next_chunk
    fingerprint = Fingerprint(result.data.fingerprint)
    try:
        for chunk in data.read(pair.chunk_size, lambda index: index >= taken_up and plan.wants(index)):
            progress("data", 0.0 if not data.length else chunk.start / data.length)
            fingerprint.add(chunk.start, chunk.x, chunk.y)
            seen = _chunk(pair, plan.levels, chunk.x, chunk.y, chunk.start, chunk.index % _UNWATCHED == 0)
            summary = replace(result.data, samples=result.data.samples + len(chunk.x), fingerprint=fingerprint.hex)
            result = replace(_add(result, *seen), data=summary, seconds=time.perf_counter() - began)
            if journal is not None:
                journal.keep(result, chunk.index + 1)
    except (RunFailure, ShapeMismatch) as error:
        return replace(result, checks=(*result.checks, _failure(error)))
    except BaseException:
        if journal is not None:
            journal.save()
        raise
    return result if plan.shard else replace(result, data=replace(result.data, length=result.data.samples))


def _chunk(
    pair: _Pair,
    levels: Sequence[str],
    x: Tensor,
    y: Tensor | None,
    start: int,
    unwatched: bool,
) -> tuple[Judged | None, Task | None]:
    if "deployment" not in levels:
        alone = run_bare(pair.candidate, x)
        return None, _task(pair.source.run(x), alone, y, alone, None)
    judged = pair.judge(x, start)
    if "task" not in levels:
        return judged, None
    bare = run_bare(pair.candidate, x) if unwatched else None
    return judged, _task(judged.reference, judged.candidate, y, bare, judged.output_bound, judged.explained)


def _task(
    reference: Tensor,
    candidate: Tensor,
    labels: Tensor | None,
    bare: Tensor | None,
    bound: Tensor | None,
    explained: Tensor | None = None,
) -> Task:
    """The tally of one chunk.

    `bound` is how far rounding may move each logit, `explained` marks the samples `[B]` on which spikes differ, but only by
    explained flips and what follows from them; without it no decision is excused.
    """
    for output in (candidate, bare):
        if output is not None and output.shape != reference.shape:
            raise RunFailure(f"output is {list(output.shape)}, not {list(reference.shape)}")
    expected, found = _decisions(reference), _decisions(candidate)
    error = float((reference - candidate).abs().max())
    excused = torch.zeros(len(reference), dtype=torch.bool) if explained is None else explained
    task = Task(
        len(reference),
        int((expected == found).sum()),
        error if torch.tensor(error).isfinite() else None,
        explained=int(((expected != found) & excused).sum()),
    )
    if labels is not None:
        right = [int((decided == labels).sum()) for decided in (expected, found)]
        task = replace(task, labelled=len(labels), right_reference=right[0], right_candidate=right[1])
    if bare is None:
        return task
    alike = ((bare - candidate).abs() <= (0 if bound is None else bound)).flatten(1).all(1)
    agreeing = _decisions(bare) == expected
    return replace(
        task,
        bare=len(bare),
        bare_agreeing=int(agreeing.sum()),
        bare_unlike=int((~alike).sum()),
        bare_explained=int((~agreeing & alike & excused).sum()),
    )


def _decisions(y: Tensor) -> Tensor:
    """The class of every sample from outputs `[B, K]` or, of every step, `[B, T, K]`."""
    return y.sum(1).argmax(-1) if y.dim() == 3 else y.argmax(-1)


def _add(result: Verification, judged: Judged | None, task: Task | None) -> Verification:
    """`result` with what one more chunk has shown."""
    layers = result.layers
    if judged is not None:
        layers = tuple(a + b for a, b in zip(layers, judged.layers, strict=True)) if layers else tuple(judged.layers)
    difference = result.difference or (judged.difference if judged is not None else None)
    total = task if result.task is None or task is None else result.task + task
    return replace(result, layers=layers, task=total, difference=difference)


def chunk_size(program: SpikingProgram, candidate: Candidate) -> int:
    """How many samples are judged at once; it depends on the network alone, so that every shard makes the same chunks."""
    potentials = program.contract.timesteps * sum(torch.Size(neuron.shape).numel() for neuron in program.neurons.values())
    size = max(1, min(_LARGEST_CHUNK, _CHUNK_POTENTIALS // potentials))
    return size if candidate.batch is None else -(-size // candidate.batch) * candidate.batch


def _contract(expected: TimeContract, found: TimeContract) -> Check:
    words = {"timesteps": "timesteps", "input_shape": "input shape", "event": "event input", "readout": "read-out"}
    unlike = [
        f"{word} is {getattr(found, name)} in the artifact, {getattr(expected, name)} in the source"
        for name, word in words.items()
        if getattr(found, name) != getattr(expected, name)
    ]
    kind = "frames" if expected.event else "one image shown"
    agreed = f"T = {expected.timesteps}, {kind}, read-out {expected.readout}"
    return Check("contract", "", not unlike, "; ".join(unlike) or agreed)


def _failure(error: RunFailure | ShapeMismatch) -> Check:
    return Check("deployment", getattr(error, "name", ""), False, f"the artifact does not run as it should: {error}")


def _notes(source: Source, candidate: Artifact, plan: Plan) -> tuple[str, ...]:
    notes = list(source.notes)
    if candidate.sha256_of_source != source.program.origin.sha256:
        notes.append("the artifact names another checkpoint file as its source")
    if plan.run_foreign_code and candidate.format == "torchscript":
        notes.append("the artifact's code was run without being held against snnconv's first (--run-foreign-code)")
    return tuple(notes)
