"""The lowered graph: plain aten operators and the operators of `snnconv.lower.ops`, constants by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.neuron import Shape
from snnconv.ir.program import TIME_STEP, ModulePath, SpikingProgram, TimeContract, put, tensors
from snnconv.lower import ops


@dataclass(frozen=True)
class Lowered:
    """A graph without norms and with nothing left implicit.

    `neurons` maps each neuron to the shape of its state, in the order of the states. `counts_steps` says that the state of a
    step form ends with `TIME_STEP`, the number of steps that each sample has seen, int64 `[B]`.
    """

    graph: fx.GraphModule
    form: str
    contract: TimeContract
    neurons: dict[ModulePath, Shape]
    counts_steps: bool = False

    @property
    def states(self) -> list[str]:
        """The names of the states of a step form, in order."""
        return [*self.neurons, *([TIME_STEP] if self.counts_steps else [])]

    def constants(self) -> dict[ModulePath, Tensor]:
        """Everything an artifact of this graph must hold, by path."""
        return tensors(self.graph)

    def run(self, x: Tensor, watch: Callable[[ModulePath, Tensor, Tensor], None] | None = None) -> Tensor:
        """Run a sequence form in torch on `x`; `watch(neuron, potentials, spikes)` sees each `[T * B, ...]`."""
        with torch.no_grad():
            return _Sequence(self.graph, watch).run(x)


class _Sequence(fx.Interpreter):
    """Runs a sequence form with the torch implementations of the time operators."""

    def __init__(self, graph: fx.GraphModule, watch: Callable[[ModulePath, Tensor, Tensor], None] | None) -> None:
        super().__init__(graph)
        self.watch = watch

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is ops.FIRE_OVER_TIME:
            *constants, name, timesteps, constant = args
            potentials: list[Tensor] = []
            spikes = ops.fire_over_time(*constants, timesteps, constant, potentials)  # type: ignore[call-arg]
            if self.watch is not None:
                self.watch(name, torch.cat(potentials), spikes)
            return spikes
        plain = {
            ops.MERGE_TIME: ops.merge_time,
            ops.REPEAT_TIME: ops.repeat_time,
            ops.EACH_STEP: ops.each_step,
            ops.REDUCE_TIME: ops.reduce_time,
        }
        return super().call_function(plain.get(target, target), args, kwargs)

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        return args[0][0]


def neuron_arguments(module: torch.nn.Module, graph: fx.Graph, name: ModulePath, program: SpikingProgram) -> tuple[Any, ...]:
    """Hold the constants of a folded neuron at `<name>.<constant>` and return the operator's arguments after its inputs."""
    neuron = program.neurons[name]
    threshold, inverted = neuron.comparator()
    held = {
        "threshold": threshold,
        "inverted": inverted,
        "leak": neuron.leak if program.leaks(name) else None,
        "shift": neuron.shift,
        "reset": neuron.reset if neuron.resets else None,
        "gain": neuron.gain,
        "offset": neuron.offset,
        "synapse": neuron.synapse,
    }
    arguments = []
    for constant in ops.CONSTANTS:
        value = held[constant]
        if value is not None:
            put(module, f"{name}.{constant}", value)
        arguments.append(None if value is None else graph.get_attr(f"{name}.{constant}"))
    return (*arguments, neuron.strict, neuron.soft, name)
