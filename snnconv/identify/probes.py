"""Measuring what a layer carries, from nothing but when it fires.

A layer that was shown some currents and is then shown one more fires on it from some current on: its cut, found by bisection
over the ordered floats (`snnconv.fold.threshold`). What the layer carried at that moment, in units of its input, is by how much
the cut of a fresh layer exceeds this one. All elements, and many histories, are measured at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snnconv.fold.threshold import Cut, find_cut
from snnconv.identify.facts import NotCanonical

Run = Callable[[Tensor], Tensor]
"""A layer, run from a fresh state: currents `[T, B, *shape]` to which of them made it fire `[T, B, *shape]`, bool."""

_NOT_MONOTONE = "does not fire from one threshold on: it is silent again on stronger currents"
_ROUNDINGS = 8
"""A measured value may be off by so many roundings of the values that it comes from."""


@dataclass(frozen=True)
class Carried:
    """What a layer carries after each of `P` histories.

    Attributes:
        value: in units of the input, `[P, *shape]`.
        error: by how much rounding may have falsified it.
        cut: above which current it fires next, or below which if inverted.
    """

    value: Tensor
    error: Tensor
    cut: Tensor

    def __getitem__(self, index: int | slice) -> Carried:
        """After one or some of the histories."""
        return Carried(self.value[index], self.error[index], self.cut[index])


@dataclass(frozen=True)
class Fresh:
    """When a fresh layer fires: above `cut.threshold` `[*shape]`, or below it where inverted.

    Attributes:
        run: the layer.
        cut: of the first step.
    """

    run: Run
    cut: Cut

    @property
    def live(self) -> Tensor:
        """Which elements fire on some currents and not on others."""
        return self.cut.threshold.isfinite()

    @property
    def threshold(self) -> Tensor:
        """The first cut, 0 where an element is not live."""
        return torch.where(self.live, self.cut.threshold, torch.zeros_like(self.cut.threshold))

    @property
    def unit(self) -> Tensor:
        """A current of about the size of the threshold, in the direction that makes the element fire."""
        size = self.threshold.abs()
        known = size[size > 0]
        size = torch.where(size > 0, size, known.median() if len(known) else torch.ones_like(size))
        return torch.where(self.cut.inverted, -size, size)

    def carried_after(self, history: Tensor) -> Carried:
        """What is carried after the currents `history` `[k, P, *shape]`.

        Raises `NotCanonical` if the next decision is not monotone in the current, or does not depend on it.
        """
        cut = _cut_after(self.run, history)
        measured = torch.where(self.live, cut.threshold, self.threshold)
        if not bool(measured.isfinite().all()):
            stuck = "does not fire" if bool(((measured == torch.inf) & ~cut.inverted).any()) else "fires"
            raise NotCanonical(f"{stuck} at some steps whatever the current (a refractory period?)")
        if bool((self.live & (cut.inverted != self.cut.inverted)).any()):
            raise NotCanonical("fires above its threshold at one step and below it at another")
        value = self.threshold - measured
        eps = torch.finfo(value.dtype).eps
        return Carried(value, _ROUNDINGS * eps * (self.threshold.abs() + measured.abs()), measured)


def fresh(run: Run, shape: tuple[int, ...], dtype: torch.dtype) -> Fresh:
    """The first cut of a layer. Raises `NotCanonical` if there is none."""
    nothing = torch.zeros(0, 1, *shape, dtype=dtype)
    cut = _cut_after(run, nothing)
    first = Cut(cut.threshold[0], cut.inverted[0])
    _ensure_one_cut(run, first)
    if not bool(first.threshold.isfinite().any()):
        if _remembers(run, shape, dtype):
            raise NotCanonical("spikes late: its first spikes do not depend on its first current")
        raise NotCanonical("never fires" if bool((first.threshold > 0).any()) else "always fires")
    return Fresh(run, first)


def _ensure_one_cut(run: Run, cut: Cut) -> None:
    """Raise `NotCanonical` if currents of some sizes are not decided as the cut says."""
    sizes = torch.exp2(torch.arange(-6, 9, dtype=cut.threshold.dtype)).reshape(-1, *[1] * cut.threshold.dim())
    currents = torch.cat([-sizes, sizes]).expand(-1, *cut.threshold.shape)
    fires = torch.where(cut.inverted, currents < cut.threshold, currents > cut.threshold)
    if not torch.equal(run(currents[None])[0], fires):
        raise NotCanonical(_NOT_MONOTONE)


def _remembers(run: Run, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether spikes depend on earlier currents though the first ones do not depend on the first current."""
    ends = torch.tensor([-_limit(dtype), _limit(dtype)], dtype=dtype).reshape(1, 2, *[1] * len(shape))
    after = run(torch.cat([ends.expand(1, 2, *shape), torch.zeros(3, 2, *shape, dtype=dtype)]))
    return not torch.equal(after[:, 0], after[:, 1])


def _cut_after(run: Run, history: Tensor) -> Cut:
    limit = _limit(history.dtype)

    def fires(current: Tensor) -> Tensor:
        return run(torch.cat([history, current.clamp(-limit, limit)[None]]))[-1]

    try:
        return find_cut(fires, torch.zeros(history.shape[1:], dtype=history.dtype))
    except ValueError as error:
        raise NotCanonical(_NOT_MONOTONE) from error


def _limit(dtype: torch.dtype) -> float:
    """A current beyond all that counts, with which a layer can still compute."""
    return float(torch.finfo(dtype).max ** 0.75)
