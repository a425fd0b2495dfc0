"""Where a run of the source is, and from where on each sample spikes otherwise than the source."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snnconv.ir.neuron import Neuron
from snnconv.verify import masks

_NEVER = torch.iinfo(torch.int64).max


class Timeline:
    """The calls of neurons in one run, `(step, name)` in order, and the synaptic currents that they carry."""

    def __init__(self, neurons: Mapping[str, Neuron]) -> None:
        self.calls: list[tuple[int, str]] = []
        self._neurons = neurons
        self._steps = dict.fromkeys(neurons, 0)
        self._synaptic: dict[str, Tensor] = {}

    def call(self, name: str, current: Tensor) -> tuple[int, Tensor]:
        """Neuron `name` is given `current` `[B, ...]`: at which step that is, and what arrives at its membranes."""
        neuron, step = self._neurons[name], self._steps[name]
        self._steps[name] += 1
        self.calls.append((step, name))
        arrived = neuron.synaptic_current(current, self._synaptic.get(name), step)
        if neuron.synaptic_decay is not None:
            self._synaptic[name] = arrived
        return step, arrived

    @property
    def last(self) -> int:
        """The number of the call that runs."""
        return len(self.calls) - 1


class Divergence:
    """Of each sample of a chunk: the first call in which a spike differs, whether anything but explained flips is wrong."""

    def __init__(self, samples: int) -> None:
        self.at = torch.full((samples,), _NEVER)
        self._some = False
        self._first: dict[tuple[int, str], Tensor] = {}
        self._faulty = torch.zeros(samples, dtype=torch.bool)

    def note(self, unlike: Tensor, call: int, place: tuple[int, str]) -> None:
        """Spikes differ, in call number `call`, which is that of a neuron at a step, as `unlike` `[B, ...]` marks."""
        self._some = True
        new = masks.of_samples(unlike) & (self.at == _NEVER)
        self.at[new] = call
        if bool(new.any()):
            self._first[place] = unlike & new.view(-1, *[1] * (unlike.dim() - 1))

    def first(self, place: tuple[int, str]) -> Tensor | None:
        """The spikes `[B, ...]` that differ there on samples that spiked alike before; None if there are none."""
        return self._first.get(place)

    def rows(self) -> Tensor:
        """The samples that do not spike alike throughout."""
        return (self.at != _NEVER).nonzero().flatten()

    def together(self) -> Tensor | None:
        """The samples that have spiked alike so far; None for all of them."""
        return (self.at == _NEVER).nonzero().flatten() if self._some else None

    def before(self, call: int, rows: Tensor) -> Tensor:
        """Which of `rows`, by their place in it, diverged before that call."""
        return (self.at[rows] < call).nonzero().flatten()

    def blame(self, rows: Tensor | None, *faults: Tensor | None) -> None:
        """Note the samples, of `rows` (None: of all), in which one of the masks `[B, ...]` marks anything."""
        for mask in faults:
            if mask is not None:
                self._faulty[slice(None) if rows is None else rows] |= masks.of_samples(mask)

    def explained(self) -> Tensor:
        """The samples `[B]` that diverged, and on which nothing but flips within their rounding bound was seen."""
        return (self.at != _NEVER) & ~self._faulty
