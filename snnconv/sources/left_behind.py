"""What a factory leaves in the state of its network by running it, and taking that back.

A dummy forward, a warm-up or a training step in the factory leaves the potentials of its last batch in neurons that nobody resets
afterwards. A run would start from them, and on no other batch size. What a run in the factory changed, what nobody changed since
and what every further run changes again is such a state; a threshold that the first batch calibrates is none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from snnconv import adapters
from snnconv.errors import SnnconvError
from snnconv.fresh_state import held, hold, same_state
from snnconv.user_code import running_user_code

_Held = dict[str, Any]


class Runs:
    """The runs of networks in a block (`watched_runs`): what their layers held before the first and after the last of them."""

    def __init__(self) -> None:
        self._before: dict[nn.Module, _Held] = {}
        self._after: dict[nn.Module, _Held] = {}
        self._inputs: dict[nn.Module, tuple[Any, ...]] = {}
        self._depth = 0

    def begin(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Note what the layers inside `layer` hold before they are first run; a forward pre-hook of every layer."""
        if self._depth == 0:
            self._inputs[layer] = inputs
            self._before.update({inner: held(inner) for inner in layer.modules() if inner not in self._before})
        self._depth += 1

    def end(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Note what they hold afterwards; a forward hook of every layer, run if it fails as well."""
        self._depth -= 1
        if self._depth == 0:
            self._after.update({inner: held(inner) for inner in layer.modules()})

    def take_back(self, module: nn.Module) -> tuple[str, ...]:
        """Give the layers of `module` the states that they were built with, and say so in a note if any had another."""
        if not self._after:
            return ()
        self._follow_copy(module)
        with running_user_code("the factory", "a reset of its network"):
            adapters.reset(module)
            known = adapters.interfaces_of(module)
        others = [layer for path, layer in module.named_modules() if not any(f"{path}.".startswith(f"{name}.") for name in known)]
        left = {layer: names for layer in others if (names := self._left_in(layer))}
        found = {layer: held(layer) for layer in left}
        for layer, names in left.items():
            hold(layer, self._before[layer], names)
        changing = self._changing() if left else {}
        states = {layer: names & changing.get(layer, names) for layer, names in left.items()}
        for layer, names in left.items():
            hold(layer, found[layer], names - states[layer])
        return self._note(module, states)

    def _follow_copy(self, module: nn.Module) -> None:
        """Take what was seen of a network for what was seen of `module` too, if that may be a copy of it."""
        copies = dict(module.named_modules())
        for network, inputs in list(self._inputs.items()):
            layers = dict(network.named_modules())
            alike = layers.keys() == copies.keys() and all(type(layers[path]) is type(layer) for path, layer in copies.items())
            if alike and module not in self._inputs:
                self._inputs[module] = inputs
                for seen in (self._before, self._after):
                    seen.update({copies[path]: seen[layer] for path, layer in layers.items() if layer in seen})

    def _note(self, module: nn.Module, states: Mapping[nn.Module, set[str]]) -> tuple[str, ...]:
        layers = [(path, name) for path, layer in module.named_modules() for name in sorted(states.get(layer, ()))]
        words = ", ".join(f"{path}.{name}" if path else name for path, name in layers)
        return (f"the factory ran the network; what that left in {words} was taken back",) if words else ()

    def _left_in(self, layer: nn.Module) -> set[str]:
        """The names under which a layer holds what a run has left there, and nobody changed since."""
        before, after, now = self._before.get(layer, {}), self._after.get(layer, {}), held(layer)
        return {n for n, value in after.items() if not same_state(before, after, n) and same_state({n: value}, now, n)}

    def _changing(self) -> dict[nn.Module, set[str]]:
        """The names under which layers hold something else after each run, of those whose network runs again."""
        changing: dict[nn.Module, set[str]] = {}
        for network, inputs in self._inputs.items():
            seen = []
            try:
                with torch.no_grad(), running_user_code("the factory", "its forward"):
                    probe = copy.deepcopy(network).eval()
                    for given in (inputs, tuple(map(_other, inputs))):
                        probe(*given)
                        seen.append([held(layer) for layer in probe.modules()])
            except SnnconvError:
                continue
            for layer, some, others in zip(network.modules(), *seen, strict=True):
                changing.setdefault(layer, set()).update(n for n in others if not same_state(some, others, n))
        return changing


def _other(value: Any) -> Any:
    """Noise in the place of an input."""
    return torch.rand_like(value) if isinstance(value, Tensor) and value.is_floating_point() else value


@contextmanager
def watched_runs() -> Iterator[Runs]:
    """A block in which every run of a network is noted."""
    runs = Runs()
    hooks = register_module_forward_pre_hook(runs.begin), register_module_forward_hook(runs.end, always_call=True)
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()
