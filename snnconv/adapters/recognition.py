"""Which adapter a layer has: that of its class or of the nearest class it derives from, as long as it does what that class does.

A layer that overrides a method of that class may compute something else. One kind of it is told by what it does, a read-out:

    class ReadOut(LIFNode):
        def single_step_forward(self, x):
            super().single_step_forward(x)
            return self.v

On random currents over some steps it gives the potentials of the neuron that its class is, and that neuron never fires.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.adapters import registration
from snnconv.adapters.registration import NETWORK_RESETS, Adapter, is_patched, overrides, takes_all_steps_itself
from snnconv.ir.neuron import Neuron, fitted

_STEPS, _SHAPE = 4, (3, 5, 1, 1)
_TOLERANCE = 1e-9


def adapter_of(layer: nn.Module) -> Adapter | None:
    """The adapter of a layer: its own, or that of its class or of the nearest class that it derives from.

    None if no class that it derives from has one, or if the layer overrides a method of that class and is no read-out.
    """
    own = registration.taught(layer)
    if own is not None:
        return own
    adapters = registration.ADAPTERS
    kind = next((kind for kind in type(layer).__mro__ if kind in adapters), None)
    if kind is None or is_patched(layer):
        return None
    return _read_out(layer, adapters[kind]) if overrides(type(layer), kind) else adapters[kind]


def _read_out(layer: nn.Module, known: Adapter) -> Adapter | None:
    """The adapter of a layer that gives the potential of the neuron that `known` says it is; None if it does anything else."""
    try:
        neuron = known.neuron(layer).to(torch.float64)
        reads_out = (neuron.never_fires or not neuron.resets) and _gives_potentials(layer, known, neuron)
    except Exception:  # it needs other inputs, or more than a current: then it is something else
        return None
    if not reads_out:
        return None
    return replace(known, neuron=lambda layer: known.neuron(layer).silenced(), states=lambda layer: 0, gives=_potential)


def _currents() -> Tensor:
    """Random currents `[T, B, ...]`, those of each sample of another size: a bound on the potential is far away."""
    sizes = torch.tensor([4.0, 4e3, 4e6], dtype=torch.float64).view(-1, 1, 1, 1)
    return sizes * torch.randn(_STEPS, *_SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _gives_potentials(layer: nn.Module, known: Adapter, neuron: Neuron) -> bool:
    """Whether a copy of the layer gives for the currents of all steps what the canonical neuron integrates."""
    probe: Any = copy.deepcopy(layer).double()
    for inner in probe.modules():  # they watch the layer, not its copy
        inner._forward_hooks.clear()
        inner._forward_pre_hooks.clear()
    for forget in NETWORK_RESETS:
        forget(probe)
    known.reset(probe)
    with torch.no_grad():
        found = probe(_currents()) if takes_all_steps_itself(layer) else torch.stack([probe(x) for x in _currents()])
    return isinstance(found, Tensor) and torch.allclose(found, _potentials(neuron), _TOLERANCE, _TOLERANCE)


def _potentials(neuron: Neuron) -> Tensor:
    """The potentials of the canonical neuron for the same currents."""
    neuron, state, potentials = fitted(neuron.silenced(), _SHAPE[1:], ""), None, list[Tensor]()
    for t, x in enumerate(_currents()):
        u, _, state = neuron.step(x, state, t)
        potentials.append(u)
    return torch.stack(potentials)


def _potential(layer: Any, u: Tensor) -> Tensor:
    return u.unsqueeze(0) if takes_all_steps_itself(layer) else u
