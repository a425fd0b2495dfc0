"""The lowered graph: plain aten operators and the operators of `snnconv.lower.ops`, constants by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.dynamics import neuron_step
from snnconv.ir.neuron import Shape
from snnconv.ir.program import TIME_STEP, ModulePath, SpikingProgram, TimeContract, put, tensors
from snnconv.ir.time import Outputs
from snnconv.lower import ops


@dataclass(frozen=True)
class Lowered:
    """A graph without norms and with nothing left implicit.

    `states` maps each neuron and memory to the shape of its state in one sample, in the order in which a step form takes and
    returns the states. `counts_steps` says that a step form has one more, the last: `TIME_STEP`, the number of steps that each
    sample has seen, int64 `[B]`.
    """

    graph: fx.GraphModule
    form: str
    contract: TimeContract
    states: dict[ModulePath, Shape]
    counts_steps: bool = False

    @property
    def state_names(self) -> list[str]:
        """The names of the states of a step form, in order."""
        return [*self.states, *([TIME_STEP] if self.counts_steps else [])]

    def constants(self) -> dict[ModulePath, Tensor]:
        """Everything an artifact of this graph must hold, by path."""
        return tensors(self.graph)

    def run(self, x: Tensor, watch: Callable[[ModulePath, Tensor, Tensor], None] | None = None) -> Tensor:
        """The first of the `outputs` on `x`."""
        return self.outputs(x, watch)[0]

    def outputs(self, x: Tensor, watch: Callable[[ModulePath, Tensor, Tensor], None] | None = None) -> Outputs:
        """Run a sequence form in torch on `x`; `watch(neuron, potentials, spikes)` sees each `[T * B, ...]`,
        or `[B, ...]` at every step if it runs step by step."""
        with torch.no_grad():
            return _Sequence(self.graph, watch).run(x)


class _Sequence(fx.Interpreter):
    """Runs a sequence form with the torch implementations of the time operators."""

    def __init__(self, graph: fx.GraphModule, watch: Callable[[ModulePath, Tensor, Tensor], None] | None) -> None:
        super().__init__(graph)
        self.watch = watch

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target in ops.NEURONS_OVER_TIME:
            x, constants, strict, soft, name, timesteps, still = args
            potentials: list[Tensor] = []
            spikes = ops.neuron_over_time(x, ops.neuron_constants(constants, strict, soft), timesteps, still, potentials)
            if self.watch is not None:
                self.watch(name, torch.cat(potentials), spikes)
            return spikes if target is ops.NEURON_OVER_TIME else (spikes, torch.cat(potentials))
        if target is ops.NEURON_STEP:
            x, state, constants, strict, soft, name = args
            u, fired, following = neuron_step(x, state, ops.neuron_constants(constants, strict, soft))
            if self.watch is not None:
                self.watch(name, u, fired)
            return fired, following, u
        return super().call_function(ops.FUNCTIONS.get(target, target), args, kwargs)

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Outputs:
        return args[0]


NeuronArguments = tuple[list[fx.Node | None], bool, bool, ModulePath]
"""What a neuron's operator takes after its inputs: the tensors of `ops.CONSTANTS`, strict, soft, its name."""


def neuron_arguments(module: torch.nn.Module, graph: fx.Graph, name: ModulePath, program: SpikingProgram) -> NeuronArguments:
    """Hold the constants of a folded neuron at `<name>.<constant>` and return its operator's arguments.

    A leak of 1, a reset of nothing and the threshold of a silent neuron are left out.
    """
    neuron = program.neurons[name]
    k = neuron.constants()._replace(
        threshold=None if neuron.silent else neuron.constants().threshold,
        leak=neuron.leak if program.leaks(name) else None,
        reset=neuron.reset if neuron.resets else None,
    )
    tensors: list[fx.Node | None] = []
    for constant in ops.CONSTANTS:
        value = getattr(k, constant)
        if value is not None:
            put(module, f"{name}.{constant}", value)
        tensors.append(None if value is None else graph.get_attr(f"{name}.{constant}"))
    return tensors, k.strict, k.soft, name
