"""What the layers of a network keep from step to step: tensors, and the numbers and lists of the user's own code."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.errors import SnnconvError
from snnconv.ir.program import TimeContract
from snnconv.sources.forwards import Forward
from snnconv.user_code import running_user_code

_TORCH_S_OWN = frozenset(vars(nn.Module()))


def run_twice(module: nn.Module, forward: Forward, contract: TimeContract) -> dict[str, str]:
    """The class of every layer that holds other tensors after a run on one input than after a run on another, by its path.

    Empty if the network does not run: capturing runs it as well, and says what is wrong.
    """
    probe = copy.deepcopy(module)
    noise = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad(), running_user_code("the network", "its forward"):
            forward.run(probe, torch.rand(contract.batch_shape(2), generator=noise), contract)
            before = _tensors(probe)
            forward.run(probe, torch.rand(contract.batch_shape(2), generator=noise), contract)
    except SnnconvError:
        return {}
    changed = {path for path, held in _tensors(probe).items() if not _alike(held, before[path])}
    return {path: type(layer).__name__ for path, layer in probe.named_modules() if path in changed}


def counted(module: nn.Module, forward: Forward, contract: TimeContract, neurons: Collection[str]) -> str:
    """In words, the first attribute besides those of `neurons` that a run changes; empty if there is none."""
    probe = copy.deepcopy(module)
    adapters.reset(probe)
    before = _plain(probe)
    with torch.no_grad():
        forward.run(probe, torch.rand(contract.batch_shape(2)), contract)
    for (path, name), value in _plain(probe).items():
        if path not in neurons and before.get((path, name)) != value:
            return f"{path or 'the network'} ({type(probe.get_submodule(path)).__name__}) changes its attribute {name}"
    return ""


def _tensors(module: nn.Module) -> dict[str, list[Tensor]]:
    """Copies of the tensors that a layer holds besides its parameters, by the path of the layer."""
    found = {}
    for path, layer in module.named_modules():
        values = [v for held in vars(layer).values() for v in (held.values() if isinstance(held, dict) else [held])]
        found[path] = [v.clone() for v in values if isinstance(v, Tensor) and not isinstance(v, nn.Parameter)]
    return found


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(map(torch.equal, some, others))


def _plain(module: nn.Module) -> dict[tuple[str, str], str]:
    """The attributes and memories that hold no tensor, as text, by the path of their layer and their own name."""
    found = {}
    for path, layer in module.named_modules():
        own = {name: value for name, value in vars(layer).items() if name not in _TORCH_S_OWN}
        memories = own.pop("_memories", {})
        for name, value in {**own, **memories}.items():
            if isinstance(value, bool | int | float | str | list | tuple | dict | set):
                found[path, name] = _shown(value)
    return found


def _shown(value: Any) -> str:
    """Numbers as they are, of a collection its length."""
    return repr(value) if isinstance(value, bool | int | float | str) else str(len(value))
