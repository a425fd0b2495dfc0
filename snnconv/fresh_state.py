"""The state that a network has when it is loaded, and bringing it back: every run starts from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class FreshState:
    """What every layer of a network holds besides its parameters: tensors, and numbers, texts and collections of them.

    It also fits a copy of the network in another precision. Anything else that a layer holds is left alone.
    """

    def __init__(self, module: nn.Module | None = None) -> None:
        layers = {} if module is None else dict(module.named_modules())
        self._held = {path: _copied(_attributes(layer)) for path, layer in layers.items()}
        self._buffers = {path: _copied(layer._buffers) for path, layer in layers.items() if not _is_torchs(layer)}

    def restore(self, module: nn.Module) -> None:
        """Give every layer of `module` what it held; attributes that were not there are taken away."""
        dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
        for path, layer in module.named_modules():
            if path not in self._held:
                continue
            new = [name for name, value in _attributes(layer).items() if name not in self._held[path] and _is_state(value)]
            for name in new:
                delattr(layer, name)
            vars(layer).update(_copied(self._held[path], dtype))
            layer._buffers.update(_copied(self._buffers.get(path, {}), dtype))


def held(layer: nn.Module) -> dict[str, Any]:
    """Copies of the state that a layer holds besides its parameters, by name; nothing of torch's own layers."""
    return {} if _is_torchs(layer) else _copied({**_attributes(layer), **layer._buffers})


def hold(layer: nn.Module, state: Mapping[str, Any], names: Collection[str]) -> None:
    """Let a layer hold under each of `names` what `state` does, or nothing if that has no such name."""
    for name in names:
        place = layer._buffers if name in layer._buffers else vars(layer)
        place.pop(name, None)
        if name in state:
            place[name] = _copy(state[name], None)


def same_state(some: Mapping[str, Any], others: Mapping[str, Any], name: str) -> bool:
    """Whether two states hold the same under `name`, or both nothing."""
    if name in some and name in others:
        return _equal(some[name], others[name])
    return name not in some and name not in others


def _equal(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, 0.0, 0.0, equal_nan=True)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _attributes(layer: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(layer).items() if name not in _MODULE_ATTRIBUTES}


def _is_torchs(layer: nn.Module) -> bool:
    """Whether a layer is one of torch's own, which keep no state from step to step."""
    return type(layer).__module__.startswith("torch.nn.")


def _is_state(value: Any) -> bool:
    """Whether a value is made of tensors and plain values alone, so that it can be copied."""
    if isinstance(value, Mapping):
        return type(value) is dict and all(map(_is_state, value.values()))
    if isinstance(value, list | tuple | set):
        return type(value) in (list, tuple, set) and all(map(_is_state, value))
    return isinstance(value, _PLAIN) or (isinstance(value, Tensor) and not isinstance(value, nn.Parameter))


def _copied(values: Mapping[str, Any], dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Copies of the values that are state, floats in `dtype` if it is given."""
    return {name: _copy(value, dtype) for name, value in values.items() if _is_state(value)}


def _copy(value: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Tensor):
        copied = value.detach().clone()
        return copied.to(dtype) if dtype is not None and copied.is_floating_point() else copied
    if isinstance(value, dict):
        return {key: _copy(inner, dtype) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_copy(inner, dtype) for inner in value)
    return value
