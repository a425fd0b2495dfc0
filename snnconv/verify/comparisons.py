"""Level 3, probes of the comparison: does the artifact compare as its source does, at equality too?

Its thresholds are put exactly onto potentials that it reaches, and one unit in the last place above and below. First all layers
at once, and only so that every spike stays what it was: onto the last potential on one side of the threshold, next to the last on
either side. So the layers behind are reached by the same potentials, and some runs serve a network of any depth. A layer of which
no threshold can be put onto a potential like this, because it never fires, is probed in runs of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snnconv.engines import Candidate, Observation
from snnconv.ir.dynamics import NeuronConstants, fire
from snnconv.ir.program import SpikingProgram
from snnconv.results import NOT_CHECKED, Check
from snnconv.verify.masks import as_mask
from snnconv.verify.reference import Reference
from snnconv.verify.running import check_shapes, observe

COMPARISON = "comparison"
_TURNS = 3


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
    firing = [name for name, neuron in folded.neurons.items() if not neuron.silent]
    probing = _Probing(folded, candidate, held, firing, x)
    return [probing.check(name) for name in firing]


def _unchecked(detail: str) -> Check:
    return Check("deployment", "", False, detail, COMPARISON, NOT_CHECKED)


@dataclass
class _Found:
    """What was found of one layer: spikes that are wrong, potentials that met their threshold, potentials in all."""

    wrong: int = 0
    at: int = 0
    values: int = 0


class _Probing:
    """One artifact on one sample `x`, the thresholds that it has `held` moved in all layers that are `firing`."""

    def __init__(
        self, folded: SpikingProgram, candidate: Candidate, held: dict[str, Tensor], firing: list[str], x: Tensor
    ) -> None:
        self._folded, self._candidate, self._held, self._x = folded, candidate, held, x
        self._thresholds = {name: held[f"{name}.threshold"] for name in firing}
        self._seen = self._run({})
        check_shapes(folded, len(x), self._seen)
        self._found = {name: _Found() for name in firing}
        beside = {name: self._beside(name) for name in firing}
        for turn in range(_TURNS):
            self._probe({name: _in_turn(values, turn) for name, values in beside.items()})

    def check(self, name: str) -> Check:
        """The check of one layer."""
        if not self._found[name].at:
            for moved in _moved(self._thresholds[name], self._seen.potentials[name][0]):
                self._probe({name: moved})
        found = self._found[name]
        if not found.at:
            detail = "no threshold could be put onto a potential: it does not repeat itself"
            return Check("deployment", name, False, detail, COMPARISON)
        said = f"{found.wrong} of {found.values} spikes wrong" if found.wrong else f"{found.at} potentials met their threshold"
        return Check("deployment", name, not found.wrong, f"with thresholds on potentials: {said}", COMPARISON)

    def _run(self, moved: dict[str, Tensor]) -> Observation:
        thresholds = {f"{name}.threshold": value for name, value in (self._thresholds | moved).items()}
        return observe(self._candidate.with_constants(thresholds), self._x)

    def _probe(self, moved: dict[str, Tensor]) -> None:
        """Run with `moved` thresholds, by neuron, and count what becomes of the spikes of these neurons."""
        seen = self._run(moved)
        for name, threshold in moved.items():
            found, k = self._found[name], self._constants(name, threshold)
            for u, spikes in zip(seen.potentials[name], seen.spikes[name], strict=True):
                found.wrong += int((fire(u, k) ^ as_mask(spikes)).sum())
                found.at += int((u == threshold).sum())
                found.values += u.numel()

    def _constants(self, name: str, threshold: Tensor) -> NeuronConstants:
        return NeuronConstants(threshold, self._held.get(f"{name}.inverted"), strict=self._folded.neurons[name].strict)

    def _beside(self, name: str) -> list[Tensor]:
        """Thresholds on, just above and just below potentials that were reached, all of which compare as they did."""
        threshold = self._thresholds[name]
        u = torch.stack(self._seen.potentials[name])
        beyond = fire(u, self._constants(name, threshold)._replace(inverted=None))
        alike = [d for d, size in enumerate((*[1] * (u.dim() - threshold.dim()), *threshold.shape)) if size == 1]
        first = torch.where(beyond, u, torch.inf).amin(alike).view(threshold.shape)
        last = torch.where(beyond, -torch.inf, u).amax(alike).view(threshold.shape)
        above, below = (
            torch.nextafter(value, torch.full_like(value, to)) for value, to in ((last, torch.inf), (first, -torch.inf))
        )
        if self._folded.neurons[name].strict:
            return [last, torch.where(above < first, above, last), below]
        return [first, above, torch.where(below > last, below, first)]


def _moved(threshold: Tensor, potentials: Tensor) -> Iterator[Tensor]:
    """Thresholds at potentials that are reached, just above and just below: in turn over the elements, or one after the other."""
    reached = potentials[0]
    while reached.dim() > threshold.dim():
        reached = reached[0]
    for dim, size in enumerate(threshold.shape):
        if size == 1:
            reached = reached.narrow(dim, reached.shape[dim] // 2, 1)
    beside = [reached, *(torch.nextafter(reached, torch.full_like(reached, limit)) for limit in (torch.inf, -torch.inf))]
    for turn in range(len(beside) if reached.numel() < len(beside) else 1):
        yield _in_turn(beside, turn)


def _in_turn(values: list[Tensor], turn: int) -> Tensor:
    """Of tensors of one shape, the values in turn over the elements, beginning with another one at each `turn`."""
    which = (torch.arange(values[0].numel()).view(values[0].shape) + turn) % len(values)
    return torch.stack(values).gather(0, which.unsqueeze(0)).squeeze(0)
