"""A network's own `reset`, which its author calls before every sample.

Every run of snnconv starts from the state in which the network was loaded. One that has no state before it is reset is reset
once; one that its reset starts elsewhere, at half the threshold perhaps, would be taken for one that starts as it was built.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.adapters.registration import taught
from snnconv.capture import Interface
from snnconv.errors import Refused
from snnconv.first_look.calls import calls
from snnconv.first_look.places import BATCH_NAMES
from snnconv.fresh_state import FreshState, held, same_state
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import TimeContract
from snnconv.sources.currents import typical_current
from snnconv.sources.source import Source
from snnconv.user_code import ON_CPU, UserCodeError, is_library, running_user_code

_NAMES = ("reset", "reset_state", "reset_states", "reset_mem", "reset_membrane", "reset_hidden", "reset_neurons")
_BEGINNINGS = ("init_state", "init_states", "init_hidden", "init_mem", "init_membrane")
"""Methods that make a state, and may make it anew."""


def begin_by_resets(module: nn.Module, contract: TimeContract) -> tuple[str, ...]:
    """Call the resets of a `module` that does not run before they were called, in place; returns a note in words if so.

    A reset that must be given the size of the batch is given 1. Resets that do not always come to the same are left alone, and so
    are those that fail, unless for want of another device: then `Refused` is raised.
    """
    if not any(_beginnings(module)) or _runs(module, contract):
        return ()
    begun, again = copy.deepcopy(module), copy.deepcopy(module)
    called = _begun(begun) and _begun(again)
    if not called or not _hold_the_same(begun, again) or not _runs(begun, contract):
        return ()
    _begun(module)
    return (f"{called} was called before the first run: the network has no state to begin with before",)


def _runs(module: nn.Module, contract: TimeContract) -> bool:
    return any(call.runs(module) for call in calls(module, contract))


def _hold_the_same(some: nn.Module, others: nn.Module) -> bool:
    states = [(held(a), held(b)) for a, b in zip(some.modules(), others.modules(), strict=True)]
    return all(same_state(a, b, name) for a, b in states for name in a.keys() | b.keys())


def _begun(module: nn.Module) -> str:
    """Call the resets; the first in words, empty if there is none or one fails.

    Raises `Refused` if one asks for another device.
    """
    called = []
    for path, method in _beginnings(module):
        given = dict.fromkeys(_required(method), 1)
        try:
            with torch.no_grad(), running_user_code("the network", f"its {method.__name__}()"):
                method(**given)
        except UserCodeError as error:
            if error.todo == ON_CPU:
                raise Refused(error.what, ON_CPU) from error
            return ""
        called.append(_in_words(path, method))
    return called[0] if called else ""


def _beginnings(module: nn.Module) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The methods of the network, or of its layers, that bring it to its first step; they need at most the size of the batch."""

    def of(layer: nn.Module) -> list[Callable[..., Any]]:
        methods = _methods(layer, (*_NAMES, *_BEGINNINGS))
        return [method for method in methods if {name.lower() for name in _required(method)} <= BATCH_NAMES]

    own = of(module)
    return iter([("", method) for method in own] or [(p, method) for p, layer in module.named_modules() for method in of(layer)])


def ensure_resets_change_nothing(source: Source) -> None:
    """Raise `Refused` if the network runs otherwise after its own resets than as it was loaded.

    They are those of the network, or, if it has none, those of its layers. Resets that need arguments or fail are left alone.
    """
    if source.module is None:
        return
    as_loaded, reset = (copy.deepcopy(source.module) for _ in range(2))
    for net in (as_loaded, reset):
        source.forward.fresh.restore(net)
        adapters.reset(net)
    called = []
    for path, method in _resets(reset):
        try:
            with torch.no_grad(), running_user_code("the network", f"its {method.__name__}()"):
                method()
        except UserCodeError:
            return
        called.append(_in_words(path, method))
    if not called:
        return
    for own, other in zip(reset.parameters(), source.module.parameters(), strict=True):
        own.data.copy_(other.data)
    if not all(map(torch.equal, _run(source, as_loaded), _run(source, reset))):
        raise Refused(
            f"the network starts otherwise after its own {called[0]} than as it was built",
            f"call {called[0]} in the factory, so that it starts as it is used",
        )


def _resets(module: nn.Module) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The resets of the network, or, if it has none, those of its layers, with the path of the layer."""
    own = list(_resets_of(module))
    layers = [("", own)] if own else [(path, list(_resets_of(layer))) for path, layer in module.named_modules()]
    return ((path, method) for path, methods in layers for method in methods)


def _resets_of(layer: nn.Module) -> Iterator[Callable[[], Any]]:
    """The methods of the user's own that bring a layer back to its first step and need no argument."""
    return (method for method in _methods(layer, _NAMES) if not _required(method))


def _methods(layer: nn.Module, names: Collection[str]) -> Iterator[Callable[..., Any]]:
    """The methods of the user's own that a layer has by these names."""
    for name in names:
        method = getattr(layer, name, None)
        if inspect.ismethod(method) and not is_library(inspect.getfile(method)):
            yield method


def _required(method: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a method must be given."""
    arguments = inspect.signature(method).parameters.values()
    return [a.name for a in arguments if a.default is a.empty and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]


def _in_words(path: str, method: Callable[..., Any]) -> str:
    return f"{path}.{method.__name__}()" if path else f"{method.__name__}()"


def _run(source: Source, net: nn.Module) -> list[Tensor]:
    """What the neurons of `net` are given, what they return on random currents around their thresholds instead, and its outputs,
    from the state it is in."""
    for layer in net.modules():  # what was found of a layer would bring it back to the state in which it was loaded
        known = taught(layer)
        if known is not None:
            adapters.teach(layer, replace(known, reset=lambda layer: None))
    contract, noise = source.program.contract, torch.Generator().manual_seed(0)
    interfaces, seen = adapters.interfaces_of(net), list[Tensor]()
    with ExitStack() as hooks, torch.no_grad():
        for path, neuron in source.program.neurons.items():
            layer = net.get_submodule(path)
            given = partial(_given, interfaces[path], neuron, noise, seen)
            hooks.callback(layer.register_forward_pre_hook(given).remove)
            hooks.callback(layer.register_forward_hook(partial(_note, interfaces[path], seen)).remove)
        with running_user_code("the network", "its forward"):
            x = torch.rand(contract.batch_shape(2), generator=noise)
            outputs = source.forward.starting_from(FreshState(net)).run(net, x, contract)
    return [*seen, *outputs]


def _given(
    interface: Interface, neuron: Neuron, noise: torch.Generator, seen: list[Tensor], layer: nn.Module, inputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    current, *rest = inputs
    seen.append(current.clone())  # of a comparison that was split off, what the memory before it makes
    steps = [typical_current(neuron) * (torch.randn(step.shape, generator=noise) + 0.5) for step in interface.steps(current)]
    return (interface.joined([step.to(current.dtype) for step in steps]), *rest)


def _note(interface: Interface, seen: list[Tensor], layer: nn.Module, inputs: Any, output: Any) -> None:
    spikes = interface.spikes(output)
    if isinstance(spikes, Tensor):
        seen.append(spikes.clone())
