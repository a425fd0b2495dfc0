"""A folded `.pt2` program, lowered to one step and run by torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.engines.candidate import Observation, failing, replaced
from snnconv.engines.over_time import State, Stepped, run_steps
from snnconv.errors import InputError
from snnconv.files import Content
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram, TimeContract, put
from snnconv.lower import Lowered, lower, ops


@dataclass(frozen=True)
class TorchProgram:
    program: SpikingProgram
    lowered: Lowered
    sha256: str = ""
    runtime: str = f"torch {torch.__version__}"
    form: str = "step"
    batch: int | None = None
    format: str = "pt2"

    def load(self) -> TorchProgram:
        return self

    def structure(self) -> list[str]:
        return pt2.outline(self.program)

    @property
    def contract(self) -> TimeContract:
        return self.program.contract

    @property
    def sha256_of_source(self) -> str:
        return self.program.origin.sha256

    def constants(self) -> dict[str, Tensor]:
        return self.lowered.constants()

    def with_constants(self, constants: dict[str, Tensor]) -> TorchProgram:
        values, dtype = replaced(self.constants(), constants)
        lowered = lower(self.program.to(dtype), self.form)
        for path, value in values.items():
            put(lowered.graph, path, value)
        return replace(self, lowered=lowered)

    def run(self, x: Tensor) -> Tensor:
        return self.observe(x).y

    def observe(self, x: Tensor) -> Observation:
        with failing(), torch.no_grad():
            return run_steps(self._step, x, self.contract, self.lowered.neurons, self.lowered.counts_steps)

    def _step(self, frame: Tensor, state: State) -> Stepped:
        step = _Step(self.lowered.graph)
        y, *following = step.run(frame, *state.values())
        return y, dict(zip(state, following, strict=True)), step.potentials, step.spikes


class _Step(fx.Interpreter):
    """Runs a lowered step and keeps what its neurons did."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.potentials: dict[str, Tensor] = {}
        self.spikes: dict[str, Tensor] = {}

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is not ops.FIRE:
            return super().call_function(target, args, kwargs)
        *constants, name = args
        self.potentials[name], self.spikes[name], following = ops.fire(*constants)
        return self.spikes[name], following


def open(content: Content) -> TorchProgram:
    """Open a folded program. Raises `InputError` for one that still holds its norms."""
    program = pt2.decode(content)
    if not program.folded:
        raise InputError(f"{content.path}: is not folded", "fold it first: snnconv fold SOURCE -o F.pt2")
    return TorchProgram(program, lower(program, "step"), content.sha256)
