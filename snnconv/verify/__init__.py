"""Verifying: is the artifact the network that was trained? Four levels, one verdict.

contract     time steps, input, read-out and shapes agree
proof        every constant of the artifact against a fresh fold of the source
algebra      source and folded program in float64: same spikes
deployment   the artifact in its runtime: every potential and spike of every layer
task         decisions and logits
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snnconv.fold import fold
from snnconv.program import SpikingProgram, TimeContract
from snnconv.results import Check, LayerTally, Task, Verification
from snnconv.runtimes import Candidate, RunFailure
from snnconv.sources import Source
from snnconv.verify.algebra import check_algebra
from snnconv.verify.data import Data, read_data, synthetic
from snnconv.verify.deployment import OUTPUT, ShapeMismatch, judge, merge
from snnconv.verify.proof import check_constants

__all__ = ["Data", "Policy", "read_data", "synthetic", "verify"]

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done."""

_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Policy:
    """What the verdict demands beyond the fixed rules: the least share of samples on which both decide alike."""

    agreement: float = 0.99


def verify(
    source: Source,
    candidate: Candidate,
    data: Data,
    names: tuple[str, str],
    policy: Policy | None = None,
    progress: Progress = lambda stage, share: None,
    folded: SpikingProgram | None = None,
) -> Verification:
    """Verify `candidate` against `source` on `data`; `names` are those of the source and of the candidate.

    `folded` is a fold of this very source, made in this process; without it the source is folded anew.
    """
    started = time.perf_counter()
    policy = policy or Policy()
    program = source.program
    result = Verification(*names, candidate.runtime, _describe(data), (), notes=_notes(source, candidate, data))
    checks = [_contract(program.contract, candidate.contract)]
    if not checks[0].passed:
        return replace(result, checks=tuple(checks), seconds=time.perf_counter() - started)
    progress("proof", 0.0)
    folded = folded or fold(program)
    exactly = fold(program.to(torch.float64))
    checks += check_constants(folded, exactly, candidate)
    progress("algebra", 0.0)
    checks.append(check_algebra(source, exactly, candidate.form, data.x))
    del exactly
    try:
        layers, task = _deploy(source, folded, candidate, data, progress)
    except (RunFailure, ShapeMismatch) as error:
        checks.append(Check("deployment", getattr(error, "name", ""), False, f"the artifact does not run as it should: {error}"))
        return replace(result, checks=tuple(checks), seconds=time.perf_counter() - started)
    checks += [_layer(tally) for tally in layers]
    checks.append(_task(task, policy))
    return replace(result, checks=tuple(checks), layers=tuple(layers), task=task, seconds=time.perf_counter() - started)


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


def _deploy(
    source: Source, folded: SpikingProgram, candidate: Candidate, data: Data, progress: Progress
) -> tuple[list[LayerTally], Task]:
    program = source.program
    size = candidate.batch or _chunk(program)
    tallies: list[LayerTally] = []
    reference, bare = [], []
    for start in range(0, len(data.x), size):
        progress("deployment", start / len(data.x))
        x = _padded(data.x[start : start + size], candidate.batch)
        kept = min(size, len(data.x) - start)
        seen = candidate.observe(x)
        spikes: Counter[str] = Counter()
        y = source.run(x, _counting(spikes))
        chunk = judge(program, folded, x, seen, start)
        rated = [replace(t, rate_reference=spikes[t.name] / t.decisions) for t in chunk]
        tallies = [merge(a, b) for a, b in zip(tallies, rated, strict=True)] if tallies else rated
        reference.append(y[:kept])
        bare.append(candidate.run(x)[:kept])
    return tallies, _tally_task(torch.cat(reference), torch.cat(bare), data.y)


def _counting(spikes: Counter[str]) -> Callable[[str, Tensor], None]:
    return lambda name, fired: spikes.update({name: int(fired.count_nonzero())})


def _padded(x: Tensor, batch: int | None) -> Tensor:
    """A last, smaller chunk filled up with its own first sample, for an artifact of a fixed batch."""
    if batch is None or len(x) == batch:
        return x
    return torch.cat([x, x[:1].expand(batch - len(x), *x.shape[1:])])


def _chunk(program: SpikingProgram) -> int:
    """How many samples are judged at once: their potentials and spikes fit into a fixed budget."""
    potentials = sum(torch.Size(neuron.shape).numel() for neuron in program.neurons.values())
    return max(1, _CHUNK_BYTES // (potentials * program.contract.timesteps * 8))


def _tally_task(reference: Tensor, bare: Tensor, labels: Tensor | None) -> Task:
    if reference.shape != bare.shape:
        raise RunFailure(f"output is {list(bare.shape)}, not {list(reference.shape)}")
    error = float((reference - bare).abs().max())
    a, b = (y.sum(1).argmax(-1) if y.dim() == 3 else y.argmax(-1) for y in (reference, bare))
    accuracies = [None, None] if labels is None else [float((p == labels).float().mean()) for p in (a, b)]
    return Task(len(reference), float((a == b).float().mean()), error, *accuracies)


def _layer(tally: LayerTally) -> Check:
    faults = [
        f"{count} {word}"
        for count, word in (
            (tally.outside, "values outside their rounding bound"),
            (tally.undecided, "spikes against the layer's own threshold"),
            (tally.unexplained, "unexplained flips"),
        )
        if count
    ]
    if faults:
        where = f", first at sample {tally.first[0]}, step {tally.first[1]}" if tally.first else ""
        return Check("deployment", tally.name, False, ", ".join(faults) + where)
    fine = f"worst error {tally.worst:.1%} of its bound"
    if tally.name != OUTPUT:
        fine = f"{tally.decisions} decisions, {tally.explained} explained flips, {fine}"
    return Check("deployment", tally.name, True, fine)


def _task(task: Task, policy: Policy) -> Check:
    detail = f"argmax agrees on {task.agreement:.2%} of {task.samples} samples, logit error {task.logit_error:.2g}"
    if task.accuracy_reference is not None and task.accuracy_candidate is not None:
        detail += f", accuracy {task.accuracy_reference:.2%} before and {task.accuracy_candidate:.2%} after"
    return Check("task", "", task.agreement >= policy.agreement, detail)


def _describe(data: Data) -> str:
    return f"{len(data.x)} samples of {data.origin}"


def _notes(source: Source, candidate: Candidate, data: Data) -> tuple[str, ...]:
    notes = list(source.notes)
    if candidate.sha256_of_source != source.program.origin.sha256:
        notes.append("the artifact names another checkpoint file as its source")
    return tuple(notes)
