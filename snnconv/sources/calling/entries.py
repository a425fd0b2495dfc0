"""Tensors that hold one entry for each time step, `[T, ...]`, as TEBN and TAB learn them.

They are found by what they do: with NaN in the first entry, the neurons are given NaN at the first step; with NaN in all others,
numbers there, and NaN at some later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture import Interface
from snnconv.errors import SnnconvError
from snnconv.ir.per_step import ensure_steps


@dataclass(frozen=True)
class Entries:
    """The tensor `name` of the layer at `path`, a place of T: its first dimension is T."""

    path: str
    name: str
    usual: bool = True

    def __str__(self) -> str:
        return f"self.{self.path + '.' if self.path else ''}{self.name}"

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which the tensor has the entries of `steps` steps; for one step, it is that of the step that runs.

        Raises `Refused` if it has fewer entries.
        """
        layer = module.get_submodule(self.path)
        tensor: Tensor = getattr(layer, self.name)
        ensure_steps(f"{self.path} ({type(layer).__name__})" if self.path else "the network", len(tensor), steps)
        entry = torch.ops.snnconv.at_step(tensor).unsqueeze(0) if steps == 1 else tensor[:steps]
        with _standing_at(layer, self.name, entry):
            yield


@contextmanager
def _standing_at(layer: nn.Module, name: str, value: Tensor) -> Iterator[None]:
    """A block in which an attribute is `value` in the place of a parameter or buffer, and may be set to another tensor."""
    place: dict[str, Any] = layer._parameters if name in layer._parameters else layer._buffers
    kept = dict(place)
    del place[name]
    vars(layer)[name] = value
    try:
        yield
    finally:
        vars(layer).pop(name, None)
        place.clear()
        place.update(kept)


def entries(
    module: nn.Module, interfaces: Mapping[str, Interface], timesteps: int, run: Callable[[], object]
) -> tuple[Entries, ...]:
    """The tensors of `module` that hold an entry for each time step, if `run()` runs it for `timesteps` steps."""
    return tuple(place for place in _candidates(module, timesteps) if _is_of_each_step(module, interfaces, place, run))


def _candidates(module: nn.Module, timesteps: int) -> Iterator[Entries]:
    for path, layer in module.named_modules():
        for name, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
            if tensor.is_floating_point() and tensor.dim() and len(tensor) == timesteps > 1:
                yield Entries(path, name)


def _is_of_each_step(module: nn.Module, interfaces: Mapping[str, Interface], place: Entries, run: Callable[[], object]) -> bool:
    return _first_nan(module, interfaces, place, slice(1), run) == 0 < _first_nan(module, interfaces, place, slice(1, None), run)


def _first_nan(
    module: nn.Module, interfaces: Mapping[str, Interface], place: Entries, among: slice, run: Callable[[], object]
) -> int:
    """The first step at which a neuron is given NaN if there is NaN in these entries; -1 if none is, or the run fails."""
    tensor: Tensor = getattr(module.get_submodule(place.path), place.name)
    given: dict[str, list[Tensor]] = {}
    kept = tensor.detach().clone()
    with torch.no_grad(), ExitStack() as hooks:
        for path in interfaces:
            layer = module.get_submodule(path)
            hooks.callback(layer.register_forward_pre_hook(partial(_note, given.setdefault(path, []))).remove)
        tensor[among] = torch.nan
        try:
            run()
        except SnnconvError:
            return -1
        finally:
            tensor.copy_(kept)
    steps = [[step for call in calls for step in interfaces[path].steps(call)] for path, calls in given.items()]
    return min((t for each in steps for t, step in enumerate(each) if step.isnan().any()), default=-1)


def _note(calls: list[Tensor], layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    if inputs and isinstance(inputs[0], Tensor):
        calls.append(inputs[0])
