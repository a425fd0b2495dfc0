"""How a network is called over time: one step a call, all steps in one call, or with its states handed in and out.

A `Forward` runs the network by its own code, which is the reference of everything; and, for the capture, it calls a copy of it
that was brought into the form of one step (`snnconv.adapters.step_form`).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.adapters.step_form import takes_all_steps
from snnconv.errors import Refused, SnnconvError
from snnconv.ir.program import TimeContract
from snnconv.ir.time import frames, read_out
from snnconv.nn import run
from snnconv.user_code import running_user_code

_COUNTERS = ("step", "t", "time_step", "timestep")
_TIMESTEPS = ("T", "t", "timesteps", "time_steps", "timestep", "time_step", "num_steps", "steps")


class Forward(Protocol):
    """`run` is a whole run on `x` from a fresh state, read out; `step` is one step of a copy in the form of one step."""

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor: ...
    def step(self, module: nn.Module, x: Tensor) -> Tensor: ...


class SingleStep:
    """`forward(x)` `[B, ...]` is one time step."""

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        adapters.reset(module)
        return run(module, x, contract.timesteps, contract.readout, contract.event)

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        return module(x)


@dataclass(frozen=True)
class MultiStep:
    """`forward(x)` `[T, B, ...]` is all time steps, and gives `[T, B, K]`, or `[B, K]` where it reads out itself.

    `repeats_input` says that it is given one image `[B, ...]` and shows it at every step itself.
    """

    repeats_input: bool = False

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        adapters.reset(module)
        y = module(x if self.repeats_input else torch.stack(list(frames(x, contract.timesteps, contract.event))))
        if not isinstance(y, Tensor):
            raise Refused(f"the network returns a {type(y).__name__}", "its forward must return one float tensor")
        return y if y.dim() == 2 else read_out(list(y), contract.readout)

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        y = module(x if self.repeats_input else x.unsqueeze(0))
        return y if not isinstance(y, Tensor) or y.dim() == 2 else y.squeeze(0)

    def shorten(self, module: nn.Module, timesteps: int) -> None:
        """Tell a copy in the form of one step, in place, that there is but one: it holds their number under a usual name."""
        for name in _TIMESTEPS if self.repeats_input else ():
            if getattr(module, name, None) == timesteps:
                setattr(module, name, 1)


@dataclass(frozen=True)
class ExplicitState:
    """`forward(x, ...)` is one time step, is handed its states by name and returns them.

    `states` says where each of them is returned, `output` where y is; `counter` names what is handed the number of the step.
    The first step is handed empty tensors, as snntorch's own `init_leaky` does.
    """

    states: dict[str, int]
    output: int
    counter: str | None = None

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Tensor:
        adapters.reset(module)
        outputs, states = [], self._none(x)
        for t, frame in enumerate(frames(x, contract.timesteps, contract.event)):
            returned = module(frame, **states, **self._number(t))
            outputs.append(returned[self.output])
            states = {name: returned[i] for name, i in self.states.items()}
        return read_out(outputs, contract.readout)

    def step(self, module: nn.Module, x: Tensor) -> Tensor:
        return module(x, **self._none(x), **self._number(0))[self.output]

    def _none(self, x: Tensor) -> dict[str, Tensor]:
        return {name: x.new_zeros(0) for name in self.states}

    def _number(self, t: int) -> dict[str, int]:
        return {} if self.counter is None else {self.counter: t}


def forward_of(module: nn.Module, contract: TimeContract) -> Forward:
    """How `module` is called over time. Raises `Refused` where its forward does not tell."""
    wanted = list(inspect.signature(module.forward).parameters.values())
    states = [p.name for p in wanted[1:] if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if states:
        return _explicit_state(module, states)
    if takes_all_steps(module):
        return MultiStep(repeats_input=not contract.event and _repeats_input(module, contract))
    return SingleStep()


def _repeats_input(module: nn.Module, contract: TimeContract) -> bool:
    """Whether a network of all steps is shown one image: the other way it does not run."""
    try:
        with torch.no_grad(), running_user_code("the network", "its forward"):
            MultiStep().run(module, torch.zeros(contract.batch_shape(2)), contract)
    except SnnconvError:
        return True
    return False


def _explicit_state(module: nn.Module, states: list[str]) -> ExplicitState:
    """Reads off the return statement which of the names are states, handed in under the same names, and which is the output."""
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
    """The names that `forward` returns; empty where they differ or are none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(module).forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    found = [[e.id for e in v.elts if isinstance(e, ast.Name)] if isinstance(v, ast.Tuple) else [] for v in returns]
    return found[0] if found and all(names == found[0] for names in found) else []
