"""Level 3, probes of the comparison: does the artifact compare as its source does, at equality too?

Its thresholds are put exactly onto potentials that it reaches, and one unit in the last place above and below, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from snnconv.engines import Candidate
from snnconv.ir.dynamics import NeuronConstants, fire
from snnconv.ir.program import SpikingProgram
from snnconv.results import NOT_CHECKED, Check
from snnconv.verify.masks import as_mask
from snnconv.verify.reference import Reference
from snnconv.verify.running import check_shapes, observe

COMPARISON = "comparison"


def check_comparisons(
    reference: Reference, candidate: Candidate, x: Tensor, ours: Callable[[], bool] = lambda: True
) -> list[Check]:
    """One check per layer on the artifact with moved thresholds, on the first sample of `x` `[B, ...]`.

    It is not checked if the engine cannot move them, or if a graph that is not `ours`, that of a fresh export, lacks some.
    """
    if not candidate.engine.moves_constants:
        return [_unchecked(f"{candidate.engine} cannot run an artifact with other thresholds")]
    x, folded = x[:1], reference.folded
    held, expected = candidate.constants(), reference.constants(candidate.form)
    unlike = [path for path, value in expected.items() if path not in held or held[path].shape != value.shape]
    if unlike and ours():
        return [Check("deployment", unlike[0].rpartition(".")[0], False, "its constants are not those of the source")]
    moved = [path for path in unlike if path.rpartition(".")[2] in ("threshold", "inverted")]
    if moved:
        return [_unchecked(f"the artifact holds no constant {moved[0]} like the source's")]
    seen = observe(candidate, x)
    check_shapes(folded, len(x), seen)
    firing = [name for name, neuron in folded.neurons.items() if not neuron.silent]
    return [_compares(folded, candidate, held, name, x, seen.potentials[name][0]) for name in firing]


def _unchecked(detail: str) -> Check:
    return Check("deployment", "", False, detail, COMPARISON, NOT_CHECKED)


def _compares(
    folded: SpikingProgram, candidate: Candidate, held: dict[str, Tensor], name: str, x: Tensor, potentials: Tensor
) -> Check:
    strict, inverted = folded.neurons[name].strict, held.get(f"{name}.inverted")
    wrong = at = values = 0
    thresholds = {path: held[path] for path in (f"{neuron}.threshold" for neuron in folded.neurons) if path in held}
    for moved in _moved(held[f"{name}.threshold"], potentials):
        seen = observe(candidate.with_constants({**thresholds, f"{name}.threshold": moved}), x)
        for u, spikes in zip(seen.potentials[name], seen.spikes[name], strict=True):
            fired = fire(u, NeuronConstants(moved, inverted, strict=strict))
            wrong += int((fired ^ as_mask(spikes)).sum())
            at += int((u == moved).sum())
            values += u.numel()
    if not at:
        return Check(
            "deployment", name, False, "no threshold could be put onto a potential: it does not repeat itself", COMPARISON
        )
    found = f"{wrong} of {values} spikes wrong" if wrong else f"{at} potentials met their threshold"
    return Check("deployment", name, not wrong, f"with thresholds on potentials: {found}", COMPARISON)


def _moved(threshold: Tensor, potentials: Tensor) -> Iterator[Tensor]:
    """Thresholds at potentials that are reached, just above and just below: in turn over the elements, or one after the other."""
    reached = potentials[0]
    while reached.dim() > threshold.dim():
        reached = reached[0]
    for dim, size in enumerate(threshold.shape):
        if size == 1:
            reached = reached.narrow(dim, reached.shape[dim] // 2, 1)
    beside = [reached, *(torch.nextafter(reached, torch.full_like(reached, limit)) for limit in (torch.inf, -torch.inf))]
    turn = torch.arange(reached.numel()).view(reached.shape) % len(beside)
    for first in range(len(beside) if reached.numel() < len(beside) else 1):
        yield torch.stack(beside).gather(0, ((turn + first) % len(beside)).unsqueeze(0)).squeeze(0)
