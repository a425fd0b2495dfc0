"""A TorchScript artifact, run by torch alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnconv.errors import InputError
from snnconv.runtimes.candidate import Carded, Observation, RunFailure, read_card
from snnconv.runtimes.over_time import run_steps

METADATA_FILE = "snnconv.json"


@dataclass(frozen=True)
class TorchScript(Carded):
    module: Any
    runtime: str = f"TorchScript {torch.__version__}"

    def constants(self) -> dict[str, Tensor]:
        return {name.removeprefix("body."): value for name, value in self.module.state_dict().items()}

    def run(self, x: Tensor) -> Tensor:
        with _failing(), torch.no_grad():
            return self._steps(x).y if self.form == "step" else self.module(x)

    def observe(self, x: Tensor) -> Observation:
        with _failing(), torch.no_grad():
            return self._steps(x) if self.form == "step" else Observation(*self.module.observe(x))

    def _steps(self, x: Tensor) -> Observation:
        return run_steps(self.module.observe, x, self.contract, self.card.neurons)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise RunFailure((str(error).strip().splitlines() or [type(error).__name__])[-1]) from error


def open(path: Path) -> TorchScript:
    """Open a TorchScript file. Raises `InputError`."""
    extra = {METADATA_FILE: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, LookupError, ValueError) as error:
        raise InputError(f"{path}: not a TorchScript file, or truncated", "export it again") from error
    text = extra[METADATA_FILE]
    return TorchScript(read_card(path, text), module.eval())
