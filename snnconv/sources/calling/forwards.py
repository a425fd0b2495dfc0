"""How a network is called over time, once that is known (`snnconv.sources.calling.finding`).

A `Forward` runs the network by its own code, which is the reference of everything. For the capture it calls a copy of the
network, whose layers are in the form of one step (`snnconv.adapters.one_step`), for one step only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor, nn

from snnconv import adapters
from snnconv.first_look.layouts import Layout, arrange
from snnconv.first_look.own_code import sizes_of_tensors
from snnconv.first_look.step_count import StepCount
from snnconv.fresh_state import FreshState
from snnconv.ir.program import TimeContract
from snnconv.ir.time import Outputs, frames, read_out
from snnconv.sources.calling.returned import Output, Path, entry


class Forward(Protocol):
    """How a network is called over time; `str` of it says so in words."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The outputs in what it returns."""

    @property
    def fresh(self) -> FreshState:
        """The state that every run starts from."""

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Outputs:
        """A whole run on `x` from a fresh state, every output read out: `[B, ...]`, or `[B, T, ...]` if its readout is none."""

    def step(self, module: nn.Module, x: Tensor) -> Outputs:
        """Call a copy of the network in the form of one step on one frame `x` `[B, ...]`; it gives its outputs `[B, ...]`."""

    @property
    def reads_out(self) -> tuple[bool, ...]:
        """Of which outputs the network reads out over time by itself."""

    def starting_from(self, fresh: FreshState) -> Forward:
        """The same, every run of which starts from that state."""


@dataclass(frozen=True)
class HandedStates:
    """States that a forward of one step is handed, and returns.

    Attributes:
        places: of each state, by the name of its argument, where it is in what the forward returns.
        empty: the arguments that are handed an empty tensor at the first step, as from snntorch's own `init_leaky`; the others
            are handed None there.
    """

    places: Mapping[str, Path] = field(default_factory=dict)
    empty: frozenset[str] = frozenset()

    def first(self, x: Tensor) -> dict[str, Any]:
        """The arguments of the first step on `x`."""
        return {name: x.new_zeros(0) if name in self.empty else None for name in self.places}

    def following(self, returned: Any) -> dict[str, Any]:
        """The arguments of the step after the one that returned this."""
        return {name: entry(returned, path) for name, path in self.places.items()}


@dataclass(frozen=True)
class SingleStep:
    """`forward(x)` `[B, ...]` is one time step.

    Attributes:
        outputs: the outputs in what it returns.
        states: what it is handed and returns besides.
        counter: the argument that is given the number of the step, if there is one.
        first: the argument that says whether the step is the first, if there is one.
        fresh: the state that every run starts from.
    """

    outputs: tuple[Output, ...] = (Output(),)
    states: HandedStates = field(default_factory=HandedStates)
    counter: str | None = None
    first: str | None = None
    fresh: FreshState = field(default_factory=FreshState)

    def __str__(self) -> str:
        return "one step a call"

    @property
    def reads_out(self) -> tuple[bool, ...]:
        """Of none."""
        return tuple(False for _ in self.outputs)

    def starting_from(self, fresh: FreshState) -> SingleStep:
        """The same, every run of which starts from that state."""
        return replace(self, fresh=fresh)

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Outputs:
        """Call the network once per step, on the states that it returned at the step before."""
        _begin(module, self.fresh)
        given = self.states.first(x)

        def step(frame: Tensor, t: int) -> Outputs:
            nonlocal given
            returned = module(frame, **given, **self.told(t))
            given = self.states.following(returned)
            return tuple(output.pick(returned) for output in self.outputs)

        return contract.run(step, x)

    def step(self, module: nn.Module, x: Tensor) -> Outputs:
        """Call the network as the first step does; the capture puts the real states in the place of these."""
        with sizes_of_tensors(module):
            returned = module(x, **self.states.first(x), **self.told(0))
        return tuple(output.pick(returned) for output in self.outputs)

    def told(self, t: int) -> dict[str, Any]:
        """The arguments that tell the forward which step it is."""
        number = {} if self.counter is None else {self.counter: t}
        return number if self.first is None else {**number, self.first: t == 0}


@dataclass(frozen=True)
class WholeRun:
    """One call of the forward is the whole run.

    Attributes:
        layout: what it is given.
        count: where the number of steps stands in the network.
        outputs: the outputs in what it returns.
        fresh: the state that every run starts from.
    """

    layout: Layout
    count: StepCount = field(default_factory=StepCount)
    outputs: tuple[Output, ...] = (Output(),)
    fresh: FreshState = field(default_factory=FreshState)

    def __str__(self) -> str:
        return self.layout

    @property
    def reads_out(self) -> tuple[bool, ...]:
        """Of which outputs the network reads out over time by itself."""
        return tuple(output.time is None for output in self.outputs)

    def starting_from(self, fresh: FreshState) -> WholeRun:
        """The same, every run of which starts from that state."""
        return replace(self, fresh=fresh)

    def run(self, module: nn.Module, x: Tensor, contract: TimeContract) -> Outputs:
        """Call the network once."""
        _begin(module, self.fresh)
        returned = self.call(
            module, arrange(self.layout, list(frames(x, contract.timesteps, contract.event))), contract.timesteps
        )
        return tuple(
            output.pick(returned) if output.time is None else read_out(output.steps(returned), readout)
            for output, readout in zip(self.outputs, contract.readouts.values(), strict=True)
        )

    def step(self, module: nn.Module, x: Tensor) -> Outputs:
        """Call the network for one step."""
        with sizes_of_tensors(module):
            returned = self.call(module, arrange(self.layout, [x]), 1)
        return tuple(output.pick(returned) if output.time is None else output.steps(returned)[0] for output in self.outputs)

    def call(self, module: nn.Module, x: Tensor, timesteps: int) -> Any:
        """What the forward returns for an input in its layout that is shown for so many steps."""
        with self.count.at(module, timesteps) as arguments:
            return module(x, **arguments)


def _begin(module: nn.Module, fresh: FreshState) -> None:
    """Bring a network to the first step of a new sample."""
    fresh.restore(module)
    adapters.reset(module)
