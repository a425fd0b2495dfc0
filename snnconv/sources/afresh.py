"""Neurons that start afresh at every step, because the network makes their states anew in each call of its forward."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.ir.neuron import Neuron
from snnconv.ir.program import TimeContract
from snnconv.sources.calling import SingleStep
from snnconv.sources.currents import typical_current
from snnconv.user_code import UserCodeError, running_user_code

_SAMPLES = 16


def without_memory(neuron: Neuron) -> Neuron:
    """A neuron with the same threshold that carries nothing from step to step."""
    nothing = torch.zeros_like(neuron.threshold.flatten()[0])
    return replace(neuron, leak=nothing, reset=nothing, soft=False, shift=None, synaptic_decay=None)


def starting_afresh(
    module: nn.Module, forward: SingleStep, contract: TimeContract, neurons: Mapping[str, Neuron]
) -> frozenset[str]:
    """The paths of the neurons that fire at the second step as at the first, if both are given the same random current, and that
    would not do so if they had carried their state. None if the module does not run on such currents.
    """
    probe, seen = copy.deepcopy(module), _Repeated(neurons)
    two = replace(contract, timesteps=2, event=False)
    with ExitStack() as hooks, torch.no_grad():
        for path in neurons:
            layer = probe.get_submodule(path)
            hooks.callback(layer.register_forward_pre_hook(partial(seen.give, path)).remove)
            hooks.callback(layer.register_forward_hook(partial(seen.note, path)).remove)
        with suppress(UserCodeError), running_user_code("the network", "two steps of it"):
            forward.run(probe, torch.rand(_SAMPLES, *contract.input_shape), two)
    return frozenset(path for path in neurons if seen.starts_afresh(path))


class _Repeated:
    """Gives each neuron the same current at every step, some of it below the threshold."""

    def __init__(self, neurons: Mapping[str, Neuron]) -> None:
        self.neurons = neurons
        self.currents: dict[str, Tensor] = {}
        self.spikes: dict[str, list[Tensor]] = {path: [] for path in neurons}

    def give(self, path: str, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """A forward pre-hook."""
        current, *rest = inputs
        if path not in self.currents:
            noise = 2 * torch.rand(current.shape, generator=torch.Generator().manual_seed(0))
            self.currents[path] = noise * typical_current(self.neurons[path])
        return (self.currents[path], *rest)

    def note(self, path: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook."""
        self.spikes[path].append((output[0] if isinstance(output, tuple) else output).clone())

    def starts_afresh(self, path: str) -> bool:
        """Whether neuron `path` fired twice alike, which it would not do with a memory."""
        if len(self.spikes[path]) != 2 or not torch.equal(*self.spikes[path]):
            return False
        neuron = self.neurons[path].to(torch.float32)
        _, first, state = neuron.step(self.currents[path], None, 0)
        _, second, _ = neuron.step(self.currents[path], state, 1)
        return not torch.equal(first, second)
