"""Tensors that hold one entry for each time step, `[T, ...]`, as TEBN and TAB learn them.

They are found by what they do: with NaN in all entries but the first, the neurons are given numbers at the first step, and NaN
at some later one.
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
        vars(layer)[self.name] = torch.ops.snnconv.at_step(tensor).unsqueeze(0) if steps == 1 else tensor[:steps]
        try:
            yield
        finally:
            del vars(layer)[self.name]


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
    tensor: Tensor = getattr(module.get_submodule(place.path), place.name)
    given: dict[str, list[Tensor]] = {}
    kept = tensor.detach().clone()
    with torch.no_grad(), ExitStack() as hooks:
        for path in interfaces:
            layer = module.get_submodule(path)
            hooks.callback(layer.register_forward_pre_hook(partial(_note, given.setdefault(path, []))).remove)
        tensor[1:] = torch.nan
        try:
            run()
        except SnnconvError:
            return False
        finally:
            tensor.copy_(kept)
    unknown = [[_has_nan(step) for call in calls for step in interfaces[path].steps(call)] for path, calls in given.items()]
    return not any(steps[:1] == [True] for steps in unknown) and any(any(steps) for steps in unknown)


def _note(calls: list[Tensor], layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    if inputs and isinstance(inputs[0], Tensor):
        calls.append(inputs[0])


def _has_nan(step: Tensor) -> bool:
    return bool(step.isnan().any())
