"""Checking that a network's own `reset`, which its author calls before every sample, leaves the state in which it was loaded.

Every run of snnconv starts from that state. A network that its reset starts elsewhere, at half the threshold perhaps, would
otherwise be taken for one that starts as it was built.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
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
from snnconv.fresh_state import FreshState
from snnconv.ir.neuron import Neuron
from snnconv.sources.currents import typical_current
from snnconv.sources.source import Source
from snnconv.user_code import UserCodeError, is_library, running_user_code

_NAMES = ("reset", "reset_state", "reset_states", "reset_mem", "reset_membrane", "reset_hidden", "reset_neurons")


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
        called.append(f"{path}.{method.__name__}()" if path else f"{method.__name__}()")
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
    for name in _NAMES:
        method = getattr(layer, name, None)
        if inspect.ismethod(method) and not is_library(inspect.getfile(method)) and not _needs_arguments(method):
            yield method


def _needs_arguments(method: Callable[..., Any]) -> bool:
    arguments = inspect.signature(method).parameters.values()
    return any(a.default is a.empty and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments)


def _run(source: Source, net: nn.Module) -> list[Tensor]:
    """What the neurons of `net` return on random currents around their thresholds, and its output, from the state it is in."""
    for layer in net.modules():  # what was found of a layer would bring it back to the state in which it was loaded
        known = taught(layer)
        if known is not None:
            adapters.teach(layer, replace(known, reset=lambda layer: None))
    contract, noise = source.program.contract, torch.Generator().manual_seed(0)
    interfaces, seen = adapters.interfaces_of(net), list[Tensor]()
    with ExitStack() as hooks, torch.no_grad():
        for path, neuron in source.program.neurons.items():
            layer = net.get_submodule(path)
            given = partial(_given, interfaces[path], neuron, noise)
            hooks.callback(layer.register_forward_pre_hook(given).remove)
            hooks.callback(layer.register_forward_hook(partial(_note, interfaces[path], seen)).remove)
        with running_user_code("the network", "its forward"):
            x = torch.rand(contract.batch_shape(2), generator=noise)
            y = source.forward.starting_from(FreshState(net)).run(net, x, contract)
    return [*seen, y]


def _given(
    interface: Interface, neuron: Neuron, noise: torch.Generator, layer: nn.Module, inputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    current, *rest = inputs
    steps = [typical_current(neuron) * (torch.randn(step.shape, generator=noise) + 0.5) for step in interface.steps(current)]
    return (interface.joined([step.to(current.dtype) for step in steps]), *rest)


def _note(interface: Interface, seen: list[Tensor], layer: nn.Module, inputs: Any, output: Any) -> None:
    spikes = interface.spikes(output)
    if isinstance(spikes, Tensor):
        seen.append(spikes.clone())
