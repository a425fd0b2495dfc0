"""Level 4: what a user of the network sees. Decisions and outputs of source and artifact, each running by itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from snnconv.engines import RunFailure
from snnconv.ir.time import Outputs
from snnconv.results import Task
from snnconv.verify import masks


def tally_outputs(
    names: Collection[str], reference: Outputs, candidate: Outputs, labels: Tensor | None, explained: Tensor | None = None
) -> dict[str, Task]:
    """What `tally` says of every output of one chunk, by the names of the outputs; `labels` go with one of them alone.

    Raises `RunFailure` for another number of outputs.
    """
    if not len(names) == len(reference) == len(candidate):
        raise RunFailure(f"there are {len(candidate)} outputs, not {len(reference)}")
    labelled = next((name for name, y in zip(names, reference, strict=True) if _is_class_score(y)), next(iter(names)))
    return {
        name: tally(a, b, labels if name == labelled else None, explained)
        for name, a, b in zip(names, reference, candidate, strict=True)
    }


def tally_outputs_bare(
    tasks: dict[str, Task],
    reference: Outputs,
    candidate: Outputs,
    bare: Outputs,
    bounds: Outputs | None = None,
    explained: Tensor | None = None,
) -> dict[str, Task]:
    """The `tasks` of a chunk with what `tally_bare` says of each."""
    if len(bare) != len(reference):
        raise RunFailure(f"there are {len(bare)} outputs, not {len(reference)}")
    each = zip(tasks.items(), reference, candidate, bare, bounds or [None] * len(bare), strict=True)
    return {name: tally_bare(task, a, b, alone, bound, explained) for (name, task), a, b, alone, bound in each}


def tally(reference: Tensor, candidate: Tensor, labels: Tensor | None, explained: Tensor | None = None) -> Task:
    """What the outputs of one chunk show: `[B, K]` of the source and of the artifact, labels `[B]` if there are any.

    `explained` marks the samples `[B]` on which spikes differ, but only by explained flips and what follows from them; without it
    no decision is excused. Raises `RunFailure` for an output of another shape.
    """
    _ensure_shape(candidate, reference)
    expected, found = _decisions(reference), _decisions(candidate)
    agreeing = _agreeing(expected, found)
    error = float((reference - candidate).abs().max())
    task = Task(
        len(reference),
        int(agreeing.sum()),
        error if torch.tensor(error).isfinite() else None,
        explained=int((~agreeing & _excused(reference, explained)).sum()),
    )
    if labels is None or expected.dim() > 1:  # a label is one class a sample
        return task
    right = [int((decided == labels).sum()) for decided in (expected, found)]
    return replace(task, labelled=len(labels), right_reference=right[0], right_candidate=right[1])


def tally_bare(
    task: Task, reference: Tensor, candidate: Tensor, bare: Tensor, bound: Tensor | None, explained: Tensor | None = None
) -> Task:
    """`task` of a chunk with what a run of the artifact that nobody watched gave, `bare` `[B, K]`.

    `bound` is how far rounding may move each value of the output. Raises `RunFailure` for an output of another shape.
    """
    _ensure_shape(bare, reference)
    agreeing = _agreeing(_decisions(reference), _decisions(bare))
    alike = ~masks.of_samples(~((bare - candidate).abs() <= (0 if bound is None else bound)))
    return replace(
        task,
        bare=len(bare),
        bare_agreeing=int(agreeing.sum()),
        bare_unlike=int((~alike).sum()),
        bare_explained=int((~agreeing & alike & _excused(reference, explained)).sum()),
    )


def _excused(reference: Tensor, explained: Tensor | None) -> Tensor:
    return torch.zeros(len(reference), dtype=torch.bool) if explained is None else explained


def _ensure_shape(output: Tensor, reference: Tensor) -> None:
    if output.shape != reference.shape:
        raise RunFailure(f"output is {list(output.shape)}, not {list(reference.shape)}")


def _decisions(y: Tensor) -> Tensor:
    """The class `[B]` of every sample from outputs `[B, K]` or, of every step, `[B, T, K]`; class 0 of one number a sample.

    Of a dense map, `[B, K, H, W]` or `[B, T, K, H, W]`, the class of every place, `[B, H, W]`.
    """
    if y.dim() == 1:
        return torch.zeros(len(y), dtype=torch.int64)
    whole = y.sum(1) if y.dim() in (3, 5) else y
    return whole.argmax(1) if whole.dim() > 1 else whole


def _is_class_score(y: Tensor) -> bool:
    """Whether an output decides on one class of several for each sample."""
    return y.dim() in (2, 3) and y.shape[-1] > 1


def _agreeing(expected: Tensor, found: Tensor) -> Tensor:
    """The samples `[B]` on which two decisions are the same, at every place."""
    return ~masks.of_samples(expected != found)
