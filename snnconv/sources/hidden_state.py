"""State that the layers of a network keep from step to step: tensors, and numbers and lists of the user's own code."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.errors import SnnconvError
from snnconv.first_look.calls import calls
from snnconv.ir.program import TimeContract
from snnconv.sources.calling import Forward

_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))


def layers_with_state(module: nn.Module, contract: TimeContract) -> dict[str, str]:
    """The class of every layer that keeps tensors from call to call, by its path.

    Such a layer holds other tensors after a call on one input than after a call on another. Empty if the network runs on no
    input: the search for its forward runs it as well, and says what is wrong.
    """
    for call, on_other_noise in zip(calls(module, contract), calls(module, contract, seed=1), strict=True):
        probe = copy.deepcopy(module)
        try:
            call(probe)
            before = _tensors(probe)
            on_other_noise(probe)
        except SnnconvError:
            continue
        changed = {path for path, values in _tensors(probe).items() if not _equal(values, before[path])}
        return {path: type(layer).__name__ for path, layer in probe.named_modules() if path in changed}
    return {}


def changed_attribute(module: nn.Module, forward: Forward, contract: TimeContract, neurons: Collection[str]) -> str:
    """In words, the first attribute without tensors that a run changes, those of `neurons` left out; empty if none changes."""
    probe = copy.deepcopy(module)
    adapters.reset(probe)
    before = _plain_attributes(probe)
    with torch.no_grad():
        forward.run(probe, torch.rand(contract.batch_shape(2)), contract)
    for (path, name), value in _plain_attributes(probe).items():
        if path not in neurons and before.get((path, name)) != value:
            return f"{path or 'the network'} ({type(probe.get_submodule(path)).__name__}) changes its attribute {name}"
    return ""


def _tensors(module: nn.Module) -> dict[str, list[Tensor]]:
    """Copies of the tensors that each layer holds besides its parameters, by the path of the layer."""
    tensors = {}
    for path, layer in module.named_modules():
        values = [v for value in vars(layer).values() for v in (value.values() if isinstance(value, dict) else [value])]
        tensors[path] = [v.clone() for v in values if isinstance(v, Tensor) and not isinstance(v, nn.Parameter)]
    return tensors


def _equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(torch.equal, some, others))


def _plain_attributes(module: nn.Module) -> dict[tuple[str, str], str]:
    """The attributes and memories that hold no tensor, as text, by the path of their layer and their own name."""
    attributes = {}
    for path, layer in module.named_modules():
        own = {name: value for name, value in vars(layer).items() if name not in _MODULE_ATTRIBUTES}
        memories = own.pop("_memories", {})
        for name, value in {**own, **memories}.items():
            if isinstance(value, bool | int | float | str | list | tuple | dict | set):
                attributes[path, name] = _shown(value)
    return attributes


def _shown(value: Any) -> str:
    """A number or text as it is, a collection by its length."""
    return repr(value) if isinstance(value, bool | int | float | str) else str(len(value))
