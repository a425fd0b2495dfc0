"""Identifying one layer of a network: copies of it in every type are run apart from the network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from snnconv.fresh_state import FreshState
from snnconv.identify.adapter import Identified
from snnconv.identify.calling import Alone, Calling
from snnconv.identify.facts import NotCanonical
from snnconv.identify.firing import Comparison, made_in, seems_to_loop, split_off
from snnconv.identify.identify import amplitude, confirm, identify
from snnconv.ir.neuron import Neuron
from snnconv.user_code import UserCodeError

_PROBED = 3
"""So many steps tell all constants of a neuron."""
_SIDE = 4
"""A layer without constants per element is looked at on potentials that are at most so high and wide."""
_BATCH = 23
"""A number of samples that no other dimension is likely to have."""
_CONFIRMED = 24
"""So many steps of random currents confirm them, if the layer takes so many."""


class Apart:
    """A layer of a network, called as the network calls it, but on currents of our own."""

    def __init__(self, layer: nn.Module, name: str, calling: Calling) -> None:
        self._layer, self._calling = layer, calling
        self._fresh = FreshState(layer)
        copies = {dtype: copy.deepcopy(layer).to(dtype) for dtype in (torch.float64, torch.float32)}
        self._runs = {dtype: Alone(copied, self._fresh, calling, name) for dtype, copied in copies.items()}

    def identified(self, shape: tuple[int, ...]) -> Identified | None:
        """The layer, on potentials of `shape`, as a canonical neuron; None if it keeps nothing from step to step.

        Raises `NotCanonical` if it keeps something and is none, and `UserCodeError` if it does not run.
        """
        if not _holds_elements(self._layer):
            try:
                return self._identified((*shape[:1], *(min(size, _SIDE) for size in shape[1:])))
            except UserCodeError:
                pass  # it runs on its own shape alone
        return self._identified(shape)

    def starts_afresh(self, shape: tuple[int, ...]) -> bool:
        """Whether each run of the layer, on potentials of `shape`, is as if there had been none before."""
        currents = 2 * torch.randn(self._steps(_PROBED), 8, *shape, generator=torch.Generator().manual_seed(0))
        run = self._runs[torch.float32]
        first = run.outputs(currents)
        return torch.equal(run.more_outputs(currents), first) and torch.equal(run.more_outputs(currents), first)

    def comparisons(self, shape: tuple[int, ...]) -> tuple[Comparison, ...]:
        """What one step of the layer on potentials of `shape` compares; nothing unless it fires alike with that split off.

        Raises `UserCodeError` if it does not run.
        """
        run, steps = self._runs[torch.float32], self._whole()
        made = made_in(lambda: run.outputs(torch.zeros(steps, _BATCH, *shape)), _BATCH)
        found = tuple(each.comparison for each in made)
        of_a_step = found[: len(found) // steps]
        if found != of_a_step * steps or seems_to_loop(made[: len(of_a_step)]):
            return ()
        layer = copy.deepcopy(self._layer)
        split_off(layer, of_a_step)
        noise = 2 * torch.randn(self._steps(_CONFIRMED), _BATCH, *shape, generator=torch.Generator().manual_seed(0))
        split = replace(run, layer=layer)
        alike = all(torch.equal(run.outputs(x), split.outputs(x)) for x in (noise, (2 * noise).round() / 2))
        return of_a_step if alike else ()

    def _identified(self, shape: tuple[int, ...]) -> Identified | None:
        if not self._keeps_something(shape):
            return None
        runs = {dtype: run for dtype, run in self._runs.items() if dtype is torch.float32 or _runs_in(dtype, run, shape)}
        dtype, run = next(iter(runs.items()))
        height = amplitude(run.outputs, shape, dtype, self._steps(_CONFIRMED))
        if height is None:
            return None
        neurons = self._neurons(runs, shape)
        called = replace(self._calling.interface, amplitude=height)
        widest = next(iter(neurons.values()))
        return Identified(
            neuron=lambda layer: widest,
            reset=self._fresh.restore,
            states=lambda layer: called.states_returned,
            neurons=neurons,
            called=called,
        )

    def _neurons(self, runs: Mapping[torch.dtype, Alone], shape: tuple[int, ...]) -> dict[torch.dtype, Neuron]:
        """The neuron in each type, with constants per channel unless the layer may hold some per element."""
        one_a_channel = (*shape[:1], *[1] * (len(shape) - 1))
        try:
            return self._confirmed(runs, one_a_channel, shape)
        except NotCanonical:
            if not _holds_elements(self._layer):
                raise
        except UserCodeError:
            pass  # it runs on its own shape alone
        return self._confirmed(runs, shape, shape)

    def _confirmed(
        self, runs: Mapping[torch.dtype, Alone], probed: tuple[int, ...], shape: tuple[int, ...]
    ) -> dict[torch.dtype, Neuron]:
        neurons = identify({dtype: run.outputs for dtype, run in runs.items()}, probed, self._steps(_PROBED))
        for dtype, neuron in neurons.items():
            confirm(neuron, runs[dtype].outputs, shape, dtype, self._steps(_CONFIRMED))
        return neurons

    def _keeps_something(self, shape: tuple[int, ...]) -> bool:
        """Whether what it returns at one step depends on the steps before, on currents of any size: it may scale them down."""
        steps, sizes = self._steps(2), torch.logspace(0, 7, 8, base=4).reshape(-1, *[1] * len(shape))
        x = 2 * sizes * torch.randn(steps, 8, *shape, generator=torch.Generator().manual_seed(0))
        other = torch.cat([x[:1].flip(1), x[1:]])
        run = self._runs[torch.float32]
        return not torch.equal(run.outputs(x)[1:], run.outputs(other)[1:])

    def _whole(self) -> int:
        """The steps of one call."""
        return 1 if self._calling.per_step else self._calling.timesteps

    def _steps(self, wanted: int) -> int:
        """So many steps as are wanted, or as a call takes."""
        return wanted if self._calling.per_step else min(wanted, self._calling.timesteps)


def _runs_in(dtype: torch.dtype, run: Alone, shape: tuple[int, ...]) -> bool:
    try:
        run.outputs(torch.zeros(1, 1, *shape, dtype=dtype))
    except UserCodeError:
        return False
    return True


def _holds_elements(layer: nn.Module) -> bool:
    """Whether a layer holds a tensor with more values than one per channel."""
    held = [*layer.parameters(), *layer.buffers(), *(v for inner in layer.modules() for v in vars(inner).values())]
    return any(isinstance(value, Tensor) and value.numel() > max(value.shape, default=1) for value in held)
