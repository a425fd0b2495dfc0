"""A folded `.pt2` program, run by torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from snnconv import pt2
from snnconv.errors import InputError
from snnconv.lower import lower
from snnconv.program import SpikingProgram, TimeContract
from snnconv.runtimes.candidate import Observation


@dataclass(frozen=True)
class TorchProgram:
    program: SpikingProgram
    runtime: str = f"torch {torch.__version__}"
    form: str = "step"
    batch: int | None = None

    @property
    def contract(self) -> TimeContract:
        return self.program.contract

    @property
    def sha256_of_source(self) -> str:
        return self.program.origin.sha256

    def constants(self) -> dict[str, Tensor]:
        return lower(self.program, self.form).constants()

    def run(self, x: Tensor) -> Tensor:
        return self.program.run(x)

    def observe(self, x: Tensor) -> Observation:
        potentials: dict[str, list[Tensor]] = {}
        spikes: dict[str, list[Tensor]] = {}

        def watch(name: str, step: int, u: Tensor, fired: Tensor) -> None:
            potentials.setdefault(name, []).append(u)
            spikes.setdefault(name, []).append(fired)

        y = self.program.run(x, watch)
        joined = [{name: torch.cat(values) for name, values in kept.items()} for kept in (potentials, spikes)]
        return Observation(y, *joined)


def open(path: Path) -> TorchProgram:
    """Open a folded program. Raises `InputError` for one that still holds its norms."""
    program = pt2.load(path)
    if not program.folded:
        raise InputError(f"{path}: is not folded", "fold it first: snnconv fold SOURCE -o F.pt2")
    return TorchProgram(program)
