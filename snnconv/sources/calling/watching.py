"""Running a network once, and seeing how its neurons are called: from that follows how it goes over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import NO_NEURON, Interface
from snnconv.errors import Refused
from snnconv.user_code import running_user_code

_CALLED = "let the network's forward call the layer itself, not its forward"
_PLACE_OF_ITS_OWN = "give each place its own neuron"


class Unfit(Refused):
    """The network ran, but not over time as was tried.

    Attributes:
        telling: how much that tells, beside other failures of runs that came as far.
    """

    telling = 0.5


class OtherSteps(Unfit):
    """It runs for several steps a frame, or goes on behind the frames that it is given."""

    telling = 0.75


class RunsOnImages(Unfit):
    """It runs over time on an image, for a number of steps whose place was not found: given frames it may do something else."""


@dataclass
class Call:
    """One call of a neuron: the shape of its current, the states that it was handed and those that it returned."""

    shape: tuple[int, ...]
    handed: tuple[Any, ...]
    given_back: tuple[Any, ...]


@dataclass
class Watched:
    """One run of a network.

    Attributes:
        interfaces: how each of its neurons is called, by path.
        calls: the calls of each neuron that was called, by path.
        returned: what the forward returned.
    """

    interfaces: Mapping[str, Interface]
    calls: dict[str, list[Call]] = field(default_factory=dict)
    returned: Any = None

    @property
    def is_one_step(self) -> bool:
        """Whether every neuron was called once, and for one step only."""
        return all(len(calls) == 1 and self.interfaces[path].time_axis is None for path, calls in self.calls.items())

    @property
    def is_nearly_one_step(self) -> bool:
        """Whether some neurons were called once, and others several times, for one step each."""
        one_by_one = all(self.interfaces[path].time_axis is None for path in self.calls)
        return one_by_one and any(len(calls) == 1 for calls in self.calls.values())

    def called_twice(self) -> tuple[str, str]:
        """In words, which neuron was called more than once, and what to do about it."""
        path, calls = next((path, calls) for path, calls in self.calls.items() if len(calls) > 1)
        what = f"neuron {path} is called {len(calls)} times in one time step and would share its potential"
        return what, _PLACE_OF_ITS_OWN

    def steps(self, batch: int) -> int:
        """For how many steps the run went. Raises `Unfit` if the neurons do not agree, or if a neuron was not given the batch."""
        steps = {path: self._steps_of(path, calls, batch) for path, calls in self.calls.items()}
        if len(set(steps.values())) > 1:
            most = max(steps, key=lambda path: steps[path])
            least = min(steps, key=lambda path: steps[path])
            raise Unfit(
                f"the network mixes time steps: neuron {most} runs for {steps[most]} steps, and {least} for {steps[least]}",
                "every neuron must be called once in every time step; " + _PLACE_OF_ITS_OWN,
            )
        return next(iter(steps.values()))

    def _steps_of(self, path: str, calls: list[Call], batch: int) -> int:
        axis, merged = self.interfaces[path].time_axis, self.interfaces[path].merged
        if axis is None:
            self._ensure_rows(path, calls[0].shape[0] if calls[0].shape else 0, batch)
            return len(calls)
        if len(calls) > 1:
            raise Unfit(f"neuron {path} is called {len(calls)} times, for all time steps each", _PLACE_OF_ITS_OWN)
        shape = calls[0].shape
        if merged:
            steps, left = divmod(shape[0], batch)
            self._ensure_rows(path, shape[0] if left or not steps else batch, batch)
            return steps
        if len(shape) < 2:
            raise Unfit(f"neuron {path} takes all time steps at once, and is given a current of shape {list(shape)}")
        if axis == 0 and shape[1] != batch and shape[0] % batch == 0:
            raise Unfit(
                f"neuron {path} takes all time steps at once, [T, B, ...], and is given {list(shape)} for a batch of {batch}: it "
                "takes the samples for time steps",
                "give it its current as [T, B, ...], behind a reshape",
            )
        self._ensure_rows(path, shape[1 if axis == 0 else 0], batch)
        return shape[axis]

    def _ensure_rows(self, path: str, rows: int, batch: int) -> None:
        if rows != batch:
            raise Unfit(
                f"neuron {path} is given {rows} rows for a batch of {batch}: other dimensions are merged into the batch",
                "merge them behind the neuron, or keep them as dimensions of their own",
            )


def watch(module: nn.Module, seen: Watched, call: Callable[[nn.Module], Any]) -> None:
    """Let `call(module)` run from a fresh state, and note in `seen` what it does with the neurons of the module.

    Raises `UserCodeError` if it fails, and `Unfit` if no neuron is called.
    """
    with torch.no_grad(), ExitStack() as hooks, running_user_code("the network", "its forward"):
        for path in seen.interfaces:
            hooks.callback(module.get_submodule(path).register_forward_hook(partial(_note, seen, path)).remove)
        adapters.reset(module)
        seen.returned = call(module)
    if not seen.calls:
        uncalled = next(iter(seen.interfaces), None)
        raise Unfit(*NO_NEURON) if uncalled is None else Unfit(f"no neuron is called, {uncalled} for one", _CALLED)


def _note(seen: Watched, path: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    at = seen.interfaces[path].spikes_at
    given = (*output[:at], *output[at + 1 :]) if isinstance(output, tuple) else ()
    shape = tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else ()
    seen.calls.setdefault(path, []).append(Call(shape, inputs[1:], given))
