"""What snnconv knows of spiking layers: which canonical neuron a layer is, and how it forgets what it remembers.

`snnconv.nn.LIF` is known, and so are neurons of the frameworks in `FRAMEWORKS`, one file each. Any other layer whose forward
takes a current and gives spikes, one time step a call, is taught by an adapter, in the file of the factory or in a package with
an entry point of the group `snnconv.adapters` that imports it:

    @adapter(MyNeuron)
    def my_neuron(layer: MyNeuron) -> Neuron:
        return lif(layer.decay, layer.v_threshold, v_reset=0.0)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from torch import nn

from snnconv.errors import Refused
from snnconv.neuron import Neuron, lif
from snnconv.nn import LIF
from snnconv.nn import reset as reset_own

ENTRY_POINTS = "snnconv.adapters"
FRAMEWORKS = {"snntorch": "snnconv.adapters.snntorch"}
"""What is imported here once the user's own code has imported the framework."""

__all__ = ["Adapter", "adapter", "known", "lif", "reset"]

Layer = TypeVar("Layer", bound=nn.Module)


@dataclass(frozen=True)
class Adapter:
    """`neuron(layer)` gives the constants of a layer, `reset(layer)` takes its state away."""

    neuron: Callable[[nn.Module], Neuron]
    reset: Callable[[nn.Module], None]


ADAPTERS: dict[type[nn.Module], Adapter] = {LIF: Adapter(LIF.neuron, reset_own)}  # type: ignore[arg-type]


def adapter(
    kind: type[Layer], reset: Callable[[Layer], object] | None = None
) -> Callable[[Callable[[Layer], Neuron]], Callable[[Layer], Neuron]]:
    """Register the function under it as what says which neuron a layer of class `kind` is.

    `reset(layer)` makes the layer forget its state before a new sample; left out, it is the layer's own method `reset()`.
    """

    def register(neuron: Callable[[Layer], Neuron]) -> Callable[[Layer], Neuron]:
        ADAPTERS[kind] = Adapter(neuron, reset or _own_reset)  # type: ignore[arg-type]
        return neuron

    return register


def known(module: nn.Module) -> dict[str, Neuron]:
    """The neuron of every spiking layer in `module`, by its path."""
    _load()
    return {name: found.neuron(layer) for name, layer in module.named_modules() if (found := _adapter_of(layer)) is not None}


def reset(module: nn.Module) -> None:
    """Forget every state in `module`: the next call is the first time step of a new sample."""
    reset_own(module)
    for layer in module.modules():
        found = _adapter_of(layer)
        if found is not None:
            found.reset(layer)


def _adapter_of(layer: nn.Module) -> Adapter | None:
    """That of the layer's class, or of the nearest class it derives from."""
    return next((ADAPTERS[kind] for kind in type(layer).__mro__ if kind in ADAPTERS), None)


def _own_reset(layer: nn.Module) -> None:
    method = getattr(layer, "reset", None)
    if not callable(method):
        raise Refused(
            f"{type(layer).__name__} has no method reset()", "tell its adapter how to forget: @adapter(..., reset=function)"
        )
    method()


def _load() -> None:
    for framework, adapters in FRAMEWORKS.items():
        if framework in sys.modules:
            import_module(adapters)
    for point in entry_points(group=ENTRY_POINTS):
        point.load()
