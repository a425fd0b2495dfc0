"""How a network is called over time: one step a call, all steps in one call, or with its states handed in and out.

A `Forward` runs the network by its own code, which is the reference of everything. For the capture, it brings a copy of the
network into the form of one step (`snnconv.adapters.one_step`) and calls that.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.adapters.one_step import one_step
from snnconv.errors import Refused, SnnconvError
from snnconv.ir.program import TimeContract
from snnconv.ir.time import frames, read_out
from snnconv.nn import run
from snnconv.user_code import running_user_code

_COUNTERS = ("step", "t", "time_step", "timestep")
_TIMESTEPS = ("T", "t", "timesteps", "time_steps", "timestep", "time_step", "num_steps", "steps")


class Forward(Protocol):
    """How a network is called over time."""

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        """A whole run on `x` from a fresh state, read out: `[B, K]`, or `[B, T, K]` if the readout is none."""

    def one_step(self, module: nn.Module, contract: TimeContract, per_step_lists: Collection[str]) -> nn.Module:
        """A copy of `module` in the form of one step; each step takes the next entry of the lists at the paths given."""

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call what `one_step` returned on one frame `x` `[B, ...]`; it gives `[B, K]`."""


class _CopiedStep:
    """Forwards whose network knows nothing of the number of time steps."""

    def one_step(self, module: nn.Module, contract: TimeContract, per_step_lists: Collection[str]) -> nn.Module:
        """A copy of `module` in the form of one step; each step takes the next entry of the lists at the paths given."""
        return one_step(module, contract.timesteps, per_step_lists)


class SingleStep(_CopiedStep):
    """`forward(x)` `[B, ...]` is one time step."""

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        """Call the network once per step."""
        adapters.reset(module)
        return run(module, x, contract.timesteps, contract.readout, contract.event)

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call the network."""
        return module(x)


@dataclass(frozen=True)
class MultiStep:
    """`forward(x)` `[T, B, ...]` is all time steps, and gives `[T, B, K]`, or `[B, K]` if it reads out by itself.

    Attributes:
        repeats_input: it is given one image `[B, ...]`, and repeats it for every step by itself.
    """

    repeats_input: bool = False

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        """Call the network on all steps at once. Raises `Refused` if it does not return one tensor."""
        adapters.reset(module)
        y = module(x if self.repeats_input else torch.stack(list(frames(x, contract.timesteps, contract.event))))
        if not isinstance(y, Tensor):
            raise Refused(f"the network returns a {type(y).__name__}", "its forward must return one float tensor")
        return y if y.dim() == 2 else read_out(list(y), contract.readout)

    def one_step(self, module: nn.Module, contract: TimeContract, per_step_lists: Collection[str]) -> nn.Module:
        """A copy of `module` in the form of one step; an attribute of a usual name that holds T holds 1 in it."""
        step = one_step(module, contract.timesteps, per_step_lists)
        for name in _TIMESTEPS if self.repeats_input else ():
            if getattr(step, name, None) == contract.timesteps:
                setattr(step, name, 1)
        return step

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call the network on one step, `[1, B, ...]` unless it repeats its input."""
        y = module(x if self.repeats_input else x.unsqueeze(0))
        return y if not isinstance(y, Tensor) or y.dim() == 2 else y.squeeze(0)


@dataclass(frozen=True)
class ExplicitState(_CopiedStep):
    """`forward(x, ...)` is one time step, is handed its states by name and returns them.

    The states of the first step are empty tensors, as from snntorch's own `init_leaky`.

    Attributes:
        positions: where in the returned tuple each state is.
        output: where in it y is.
        counter: the argument that is given the number of the step, if there is one.
    """

    positions: dict[str, int]
    output: int
    counter: str | None = None

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        """Call the network once per step, on the states that it returned at the step before."""
        adapters.reset(module)
        states = self._first_states(x)

        def step(frame: Tensor, t: int) -> Tensor:
            nonlocal states
            returned = module(frame, **states, **self._count(t))
            states = {name: returned[i] for name, i in self.positions.items()}
            output: Tensor = returned[self.output]
            return output

        return contract.run(step, x)

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call the network as the first step does; the capture puts the real states in the place of these."""
        return module(x, **self._first_states(x), **self._count(0))[self.output]

    def _first_states(self, x: Tensor) -> dict[str, Tensor]:
        return {name: x.new_zeros(0) for name in self.positions}

    def _count(self, t: int) -> dict[str, int]:
        return {} if self.counter is None else {self.counter: t}


def forward_of(module: nn.Module, contract: TimeContract) -> Forward:
    """How `module` is called over time. Raises `Refused` if its forward does not tell."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    states = [p.name for p in parameters[1:] if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if states:
        return _explicit_state(module, states)
    if adapters.takes_all_steps(module):
        return MultiStep(repeats_input=not contract.event and _repeats_input(module, contract))
    return SingleStep()


def _repeats_input(module: nn.Module, contract: TimeContract) -> bool:
    """Whether a network that takes all steps is to be given one image, because it does not run on `[T, B, ...]`."""
    try:
        with torch.no_grad(), running_user_code("the network", "its forward"):
            MultiStep().run(module, torch.zeros(contract.batch_shape(2)), contract)
    except SnnconvError:
        return True
    return False


def _explicit_state(module: nn.Module, states: list[str]) -> ExplicitState:
    """The forward of a module that is handed `states`, told from the names in its return statement.

    A returned name that is also an argument is a state; the other one is the output. Raises `Refused` if the names do not tell.
    """
    names = _returned(module)
    counter = next((name for name in states if name in _COUNTERS and name not in names), None)
    states = [name for name in states if name != counter]
    outputs = [name for name in names if name not in states]
    if not set(states) <= set(names) or len(outputs) != 1:
        seen = f"and returns {', '.join(names)}" if names else "and what it returns has no names"
        raise Refused(
            f"the network's forward is handed the states {', '.join(states)} {seen}",
            "let it return each state under its own name, and one output: `return spikes, mem1, mem2`",
        )
    return ExplicitState({state: names.index(state) for state in states}, names.index(outputs[0]), counter)


def _returned(module: nn.Module) -> list[str]:
    """The names that `forward` returns; empty if its return statements differ or return anything but names."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(module).forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    returned = [[e.id for e in v.elts if isinstance(e, ast.Name)] if isinstance(v, ast.Tuple) else [] for v in values]
    return returned[0] if returned and all(names == returned[0] for names in returned) else []
