"""torch: runs a folded program, `.pt2`, lowered to one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.artifact.program_file import ProgramFile
from snnconv.engines.engine import Candidate, Engine, Observation, failing, replaced
from snnconv.engines.over_time import State, Stepped, run_steps
from snnconv.ir.dynamics import neuron_step
from snnconv.ir.program import SpikingProgram, put
from snnconv.ir.time import Outputs
from snnconv.lower import Lowered, lower, ops


@dataclass(frozen=True)
class TorchProgram(Candidate):
    """A folded program, lowered to one step."""

    lowered: Lowered

    @property
    def program(self) -> SpikingProgram:
        """The program in the file."""
        found: ProgramFile = self.artifact  # type: ignore[assignment]
        return found.program

    def constants(self) -> dict[str, Tensor]:
        """The constants of its lowered graph."""
        return self.lowered.constants()

    def with_constants(self, constants: dict[str, Tensor]) -> TorchProgram:
        """The same program with other constants, in their type."""
        values, dtype = replaced(self.constants(), constants)
        lowered = lower(self.program.to(dtype), self.form)
        for path, value in values.items():
            put(lowered.graph, path, value)
        return replace(self, lowered=lowered)

    def outputs(self, x: Tensor) -> Outputs:
        """Step by step over `x`, read out."""
        return self.observe(x).outputs

    def observe(self, x: Tensor) -> Observation:
        """The same, with every potential and spike."""
        with failing(), torch.no_grad():
            return run_steps(self._step, x, self.artifact.metadata)

    def _step(self, frame: Tensor, state: State) -> Stepped:
        step = _ObservedStep(self.lowered.graph)
        returned = step.run(frame, *state.values())
        first = len(returned) - len(state)
        return returned[:first], dict(zip(state, returned[first:], strict=True)), step.potentials, step.spikes


class _ObservedStep(fx.Interpreter):
    """Runs a lowered step and keeps what its neurons did."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.potentials: dict[str, Tensor] = {}
        self.spikes: dict[str, Tensor] = {}

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is not ops.NEURON_STEP:
            return super().call_function(target, args, kwargs)
        x, state, constants, strict, soft, name = args
        k = ops.neuron_constants(constants, strict, soft)
        self.potentials[name], self.spikes[name], following = neuron_step(x, state, k)
        return self.spikes[name], following, self.potentials[name]


def load(artifact: ProgramFile) -> TorchProgram:
    """Lower a program that was read."""
    return TorchProgram(artifact, ENGINE, lower(artifact.program, artifact.metadata.form))


ENGINE = Engine("torch", "torch", torch.__version__, ("pt2",), load)
