"""What snnconv knows of spiking layers: which canonical neuron a layer is, and how it forgets what it remembers.

`snnconv.nn.LIF` is known, and so are neurons of the frameworks in `FRAMEWORKS`, one file each. Any other layer whose forward
takes a current and gives spikes, one time step a call, is taught by an adapter, in the file of the factory or in a package with
an entry point of the group `snnconv.adapters` that imports it:

    @adapter(MyNeuron)
    def my_neuron(layer: MyNeuron) -> Neuron:
        return lif(layer.decay, layer.v_threshold, v_reset=0.0)
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import TypeVar

import torch
from torch import Tensor, nn

from snnconv.errors import BackendMissing, Refused
from snnconv.neuron import Neuron, lif
from snnconv.nn import LIF
from snnconv.nn import reset as reset_own

ENTRY_POINTS = "snnconv.adapters"
FRAMEWORKS = {"snntorch": 1, "spikingjelly": 2}
"""The frameworks known, and their major versions; the file of each is imported once the user's own code has imported it."""

__all__ = [
    "Adapter",
    "adapter",
    "filled",
    "in_frames",
    "installing",
    "known",
    "lif",
    "load",
    "one_step",
    "reset",
    "resets",
    "settled",
    "states_returned",
    "step_layer",
    "strictness",
    "takes_all_steps",
]

Layer = TypeVar("Layer", bound=nn.Module)


@dataclass(frozen=True)
class Adapter:
    """`neuron(layer)` gives the constants of a layer, `reset(layer)` takes its state away.

    `states(layer)` is how many of its states a call of the layer returns besides the spikes.
    """

    neuron: Callable[[nn.Module], Neuron]
    reset: Callable[[nn.Module], None]
    states: Callable[[nn.Module], int] = lambda layer: 0


def _nothing(layer: nn.Module) -> None:
    """The whole network was made to forget already."""


ADAPTERS: dict[type[nn.Module], Adapter] = {LIF: Adapter(LIF.neuron, _nothing)}  # type: ignore[arg-type]
RESETS: list[Callable[[nn.Module], None]] = [reset_own]
"""What makes a whole network forget, one function per framework; adapters add what single layers need."""
STEP_LAYERS: dict[type[nn.Module], Callable[[nn.Module, int], None]] = {}
"""What brings a layer of a copied network into the form of one step; see `step_layer`."""
MULTI_STEP: list[Callable[[nn.Module], bool]] = []
"""Which layers take the time steps of a run in one call, `[T, B, ...]`, one question per framework."""


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
    found = {name: _adapter_of(layer) for name, layer in module.named_modules()}
    return {name: a.neuron(module.get_submodule(name)).to(dtype) for name, a in found.items() if a is not None}


def reset(module: nn.Module) -> None:
    """Forget every state in `module`: the next call is the first time step of a new sample."""
    for forget in RESETS:
        forget(module)
    for layer in module.modules():
        found = _adapter_of(layer)
        if found is not None:
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


def step_layer(
    *kinds: type[nn.Module],
) -> Callable[[Callable[[nn.Module, int], None]], Callable[[nn.Module, int], None]]:
    """Register the function under it as what brings layers of these classes into the form of one step.

    `function(layer, timesteps)` changes a layer of a copied network in place. Where a constant of the layer changes from step to
    step, it calls `torch.ops.snnconv.at_step(constants)` on all of them, `[T, ...]`.
    """

    def register(change: Callable[[nn.Module, int], None]) -> Callable[[nn.Module, int], None]:
        STEP_LAYERS.update(dict.fromkeys(kinds, change))
        return change

    return register


def takes_all_steps(module: nn.Module) -> bool:
    """Whether a layer of `module` takes all time steps in one call."""
    return any(_is_multi_step(layer) for layer in module.modules())


def one_step(module: nn.Module, timesteps: int) -> tuple[nn.Module, frozenset[str]]:
    """A copy of `module` in the form of one step, and the paths of its neurons that are called with `[1, B, ...]`."""
    copied = copy.deepcopy(module)
    framed = [path for path, layer in copied.named_modules() if _adapter_of(layer) is not None and _is_multi_step(layer)]
    for layer in list(copied.modules()):
        kind = next((kind for kind in type(layer).__mro__ if kind in STEP_LAYERS), None)
        if kind is not None and _adapter_of(layer) is None and not _departs(type(layer), kind):
            STEP_LAYERS[kind](layer, timesteps)
    return copied, frozenset(framed)


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


def in_frames(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    """Let `layer`, called with `[1, B, ...]`, compute `forward` on `[B, ...]`."""
    layer.forward = partial(_in_frames, forward)


def _in_frames(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return forward(x.squeeze(0)).unsqueeze(0)


def batch_norm_through_time(norms: nn.ModuleList, x: Tensor) -> Tensor:
    """One batch norm per time step, without a bias, on a step `x` `[B, C, ...]` (BNTT, arXiv 2010.01729)."""
    mean, var, weight = (
        torch.ops.snnconv.at_step(torch.stack([getattr(norm, name) for norm in norms]))
        for name in ("running_mean", "running_var", "weight")
    )
    return nn.functional.batch_norm(x, mean, var, weight, None, False, 0.0, float(norms[0].eps))  # type: ignore[arg-type]


def states_returned(module: nn.Module) -> dict[str, int]:
    """How many states every spiking layer returns besides its spikes."""
    found = {name: (_adapter_of(layer), layer) for name, layer in module.named_modules()}
    return {name: a.states(layer) for name, (a, layer) in found.items() if a is not None}


def _is_multi_step(layer: nn.Module) -> bool:
    return any(asks(layer) for asks in MULTI_STEP)


def _adapter_of(layer: nn.Module) -> Adapter | None:
    """That of the layer's class, or of the nearest class it derives from, unless it computes something else than that class."""
    kind = next((kind for kind in type(layer).__mro__ if kind in ADAPTERS), None)
    return None if kind is None or _departs(type(layer), kind) else ADAPTERS[kind]


def _departs(derived: type, kind: type) -> bool:
    """Whether a class between `derived` and `kind` has another method in the place of one of `kind`."""
    between = derived.__mro__[: derived.__mro__.index(kind)]
    names = {name for c in between for name, value in vars(c).items() if callable(value) and not name.startswith("__")}
    return any(hasattr(kind, name) for name in names - {"extra_repr"})


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


def load() -> None:
    """Import what knows the frameworks that are in use. Raises `BackendMissing` for a version that is not supported."""
    for framework, major in FRAMEWORKS.items():
        if framework in sys.modules:
            found = version(framework)
            if found.partition(".")[0] != str(major):
                raise BackendMissing(f"{framework} {found} is installed; {major}.x is supported", installing(framework))
            import_module(f"{__name__}.{framework}")
    for point in entry_points(group=ENTRY_POINTS):
        point.load()
