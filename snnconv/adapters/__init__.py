"""What snnconv knows of spiking layers: which canonical neuron a layer is, and how it forgets what it remembers.

`snnconv.nn.LIF` is known, and so are neurons of the frameworks in `FRAMEWORKS`, one file each, which is imported once the user's
own code has imported the framework. Any other layer whose forward takes a current and gives spikes, one time step a call, is
taught by an adapter, in the file of the factory or in a package with an entry point of the group `snnconv.adapters` that imports
it:

    @adapter(MyNeuron)
    def my_neuron(layer: MyNeuron) -> Neuron:
        return lif(layer.decay, layer.v_threshold, v_reset=0.0)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TypeVar

import torch
from torch import Tensor, nn

from snnconv.errors import BackendMissing, Refused
from snnconv.ir.neuron import Neuron, lif
from snnconv.nn import LIF
from snnconv.nn import reset as reset_own
from snnconv.user_code import FRAMEWORKS

ENTRY_POINTS = "snnconv.adapters"

__all__ = [
    "FRAMEWORKS",
    "Adapter",
    "adapter",
    "adapter_of",
    "departs",
    "filled",
    "forgotten",
    "installing",
    "known",
    "lif",
    "load",
    "reset",
    "resets",
    "settled",
    "states_returned",
    "strictness",
]

Layer = TypeVar("Layer", bound=nn.Module)
_DECISIVE = frozenset({"__call__", "__getattr__", "__getattribute__", "__setattr__"})
"""The methods with two underscores that can change what a layer computes."""


@dataclass(frozen=True)
class Adapter:
    """`neuron(layer)` gives the constants of a layer, `reset(layer)` takes its state away.

    `states(layer)` is how many of its states a call of the layer returns besides the spikes.
    """

    neuron: Callable[[nn.Module], Neuron]
    reset: Callable[[nn.Module], None]
    states: Callable[[nn.Module], int] = lambda layer: 0


def forgotten(layer: nn.Module) -> None:
    """The reset of layers that `RESETS` has made to forget already, with the whole network."""


ADAPTERS: dict[type[nn.Module], Adapter] = {LIF: Adapter(LIF.neuron, forgotten)}  # type: ignore[arg-type]
RESETS: list[Callable[[nn.Module], None]] = [reset_own]
"""What makes a whole network forget, one function per framework; adapters add what single layers need."""


def adapter(
    kind: type[Layer], reset: Callable[[Layer], object] | None = None, states: Callable[[Layer], int] = lambda layer: 0
) -> Callable[[Callable[[Layer], Neuron]], Callable[[Layer], Neuron]]:
    """Register the function under it as what says which neuron a layer of class `kind` is.

    `reset(layer)` makes the layer forget its state before a new sample; left out, it is the layer's own method `reset()`.
    `states(layer)` is how many states a call of the layer returns after its spikes.
    """

    def register(neuron: Callable[[Layer], Neuron]) -> Callable[[Layer], Neuron]:
        ADAPTERS[kind] = Adapter(neuron, reset or _own_reset, states)  # type: ignore[arg-type]
        return neuron

    return register


def known(module: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Neuron]:
    """The neuron of every spiking layer in `module`, by its path, its constants in `dtype`."""
    load()
    return {name: found.neuron(layer).to(dtype) for name, layer, found in _spiking(module)}


def reset(module: nn.Module) -> None:
    """Forget every state in `module`: the next call is the first time step of a new sample."""
    for forget in RESETS:
        forget(module)
    for _, layer, found in _spiking(module):
        found.reset(layer)


def resets(forget: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
    """Register a function that makes every layer of a framework in a network forget its state."""
    RESETS.append(forget)
    return forget


def strictness(fire: Callable[[Tensor], Tensor], name: str) -> bool:
    """Whether `fire(distance to the threshold)` fires above 0 only (True), or at 0 as well (False).

    Raises `Refused` where it gives something else than spikes.
    """
    tiny = torch.finfo(torch.float32).tiny
    with torch.no_grad():
        below, at, above = fire(torch.tensor([-100.0, -1.0, -tiny, 0.0, tiny, 1.0, 100.0])).split([3, 1, 3])
    if bool(below.any()) or not bool((above == 1).all()) or at.item() not in (0, 1):
        raise Refused(f"{name} does not fire spikes of 0 and 1 on its threshold", "let its surrogate function spike at inference")
    return at.item() == 0


Filled = Callable[[str, nn.Module, Mapping[str, Tensor]], list[str]]
FILLED: list[Filled] = []
"""What looks at layers that a checkpoint was loaded into; see `filled`."""


def filled(settle: Filled) -> Filled:
    """Register a function that settles a layer once a checkpoint was loaded into it, and says what the file had otherwise.

    `settle(path, layer, before)` gets the tensors that the layer held before, by their names, and returns notes. The file wins.
    """
    FILLED.append(settle)
    return settle


def settled(module: nn.Module, before: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Settle every layer of `module`, whose state was `before`; what the file had otherwise than the factory."""
    load()
    notes = []
    for path, layer in module.named_modules():
        mine = {key.removeprefix(f"{path}."): value for key, value in before.items() if key.startswith(f"{path}.")}
        notes += [note for settle in FILLED for note in settle(path, layer, mine)]
    return tuple(notes)


def states_returned(module: nn.Module) -> dict[str, int]:
    """How many states every spiking layer returns besides its spikes."""
    return {name: found.states(layer) for name, layer, found in _spiking(module)}


def _spiking(module: nn.Module) -> Iterator[tuple[str, nn.Module, Adapter]]:
    """Every spiking layer with its path and what is known of it."""
    for name, layer in module.named_modules():
        found = adapter_of(layer)
        if found is not None:
            yield name, layer, found


def adapter_of(layer: nn.Module) -> Adapter | None:
    """That of the layer's class, or of the nearest class it derives from, unless it computes something else than that class."""
    kind = next((kind for kind in type(layer).__mro__ if kind in ADAPTERS), None)
    return None if kind is None or departs(type(layer), kind) or _is_patched(layer) else ADAPTERS[kind]


def departs(derived: type, kind: type) -> bool:
    """Whether a class between `derived` and `kind` has something else in the place of a method of `kind`.

    A property in the place of a constant does not count: an adapter reads what it gives.
    """
    between = derived.__mro__[: derived.__mro__.index(kind)]
    named = {name for c in between for name in vars(c) if not name.startswith("__")} - {"extra_repr"}
    own = {name for c in between for name in vars(c) if c.__module__.partition(".")[0] not in ("torch", *FRAMEWORKS)}
    return bool(own & _DECISIVE) or any(callable(getattr(kind, name, None)) for name in named)


def _is_patched(layer: nn.Module) -> bool:
    """Whether a method was replaced on this one layer: `layer.forward = ...`."""
    return any(callable(value) and callable(getattr(type(layer), name, None)) for name, value in vars(layer).items())


def installing(framework: str) -> str:
    """What to type to get a framework."""
    return f"pip install 'snnconv[{framework}]'"


def _own_reset(layer: nn.Module) -> None:
    method = getattr(layer, "reset", None)
    if not callable(method):
        raise Refused(
            f"{type(layer).__name__} has no method reset()", "tell its adapter how to forget: @adapter(..., reset=function)"
        )
    method()


def _version(framework: str) -> str:
    try:
        return version(framework)
    except PackageNotFoundError:  # run from a checkout of its own
        return str(getattr(sys.modules[framework], "__version__", "of no version"))


def load() -> None:
    """Import what knows the frameworks that are in use. Raises `BackendMissing` for a version that is not supported."""
    for framework, major in FRAMEWORKS.items():
        if sys.modules.get(framework) is not None:
            found = _version(framework)
            if found.partition(".")[0] != str(major):
                raise BackendMissing(f"{framework} {found} is installed; {major}.x is supported", installing(framework))
            import_module(f"{__name__}.{framework}")
    for point in entry_points(group=ENTRY_POINTS):
        point.load()
