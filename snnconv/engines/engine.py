"""What an engine is, what it can do, and what it gives: an artifact that can be run, watched and changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from snnconv.artifact.artifact import Artifact, Foreign
from snnconv.ir.program import TimeContract
from snnconv.ir.time import Outputs

_MISFITS = (RuntimeError, LookupError, AttributeError, TypeError, ValueError)


class RunFailure(Exception):
    """The engine could not run the artifact: a finding about the artifact, not a mistake of the user."""


@dataclass(frozen=True)
class Engine:
    """What runs artifacts. What it cannot do is not checked; that is no failure of an artifact.

    Attributes:
        name: as in `--engine`.
        title: its name in reports.
        version: of the package behind it.
        formats: the names of the formats that it runs.
        load: makes an artifact ready to run, which may run code that it brings along. Raises `InputError` and `RunFailure`.
        observes: whether the potentials and spikes of every neuron can be seen.
        float64: whether the artifact's own graph can compute in float64.
        moves_constants: whether constants of the artifact can be given other values.
    """

    name: str
    title: str
    version: str
    formats: tuple[str, ...]
    load: Callable[[Any], Candidate]
    observes: bool = True
    float64: bool = True
    moves_constants: bool = True

    def __str__(self) -> str:
        return f"{self.title} {self.version}"


@dataclass(frozen=True)
class Observation:
    """One run of an artifact: its output, and of every neuron the potentials and spikes `[B, ...]`, one tensor per step.

    `memories` are what each step finds in every other state, and `further` the outputs behind the first, if there are several.
    Spikes are bool, or 0 and 1 in the engine's floating type.
    """

    y: Tensor
    potentials: dict[str, list[Tensor]]
    spikes: dict[str, list[Tensor]]
    memories: dict[str, list[Tensor]] = field(default_factory=dict)
    further: Outputs = ()

    @property
    def outputs(self) -> Outputs:
        """All outputs, in the order of the contract."""
        return (self.y, *self.further)

    def shows(self, name: str, step: int) -> bool:
        """Whether neuron `name` was seen at `step`. A sequence leaves out the last step of a neuron that nothing reads there."""
        return step < len(self.potentials[name])


@dataclass(frozen=True)
class Deployment:
    """An artifact, and the engine that is to run it."""

    artifact: Artifact
    engine: Engine

    @property
    def foreign(self) -> bool:
        """Whether snnconv did not write the artifact, so that nothing but its task can be verified."""
        return isinstance(self.artifact, Foreign)

    @property
    def format(self) -> str:
        """The name of the artifact's format."""
        return self.artifact.format

    @property
    def form(self) -> str:
        """ "sequence" or "step"."""
        return self.artifact.metadata.form

    @property
    def batch(self) -> int | None:
        """The batch size that it takes, None for any."""
        return self.artifact.metadata.batch

    @property
    def contract(self) -> TimeContract:
        """What it expects over time."""
        return self.artifact.metadata.contract

    @property
    def sha256(self) -> str:
        """Of the artifact's file."""
        return self.artifact.sha256

    @property
    def sha256_of_source(self) -> str:
        """Of the checkpoint that the artifact says it was made from."""
        return self.artifact.metadata.sha256_of_source

    @property
    def runtime(self) -> str:
        """The engine and its version, in words."""
        return str(self.engine)

    def load(self) -> Candidate:
        """The artifact, ready to run. Whatever code it brings along runs here at the earliest."""
        return self.engine.load(self.artifact)

    def structure(self) -> list[str]:
        """What the artifact computes, line by line."""
        return self.artifact.structure()


@dataclass(frozen=True)
class Candidate(Deployment, ABC):
    """An artifact in its engine, ready to run."""

    def load(self) -> Candidate:
        """Itself."""
        return self

    @property
    def unobservable(self) -> str:
        """Why the potentials and spikes of its neurons cannot be seen; empty if they can."""
        return "" if self.engine.observes else f"{self.engine} does not show what neurons do"

    @abstractmethod
    def constants(self) -> dict[str, Tensor]:
        """The weights and neuron constants that it holds, by the paths of the lowered graph."""

    def numbers(self) -> list[float]:
        """The settings of its operators that are real numbers, as the format rounds them."""
        return []

    @abstractmethod
    def outputs(self, x: Tensor) -> Outputs:
        """The outputs on `x` `[B, C, H, W]` or `[B, T, C, H, W]`, as a device would compute them, in the order of the contract.
        Raises `RunFailure`."""

    def run(self, x: Tensor) -> Tensor:
        """The first of the `outputs`, which is the only one of most networks."""
        return self.outputs(x)[0]

    @abstractmethod
    def observe(self, x: Tensor) -> Observation:
        """The same, with a look at every neuron. Raises `RunFailure`, and `NotImplementedError` if the engine cannot."""

    @abstractmethod
    def with_constants(self, constants: dict[str, Tensor]) -> Candidate:
        """The same artifact with other values, of the same shapes, for some of its constants.

        If those are float64, the whole of it computes in float64: its own graph, from `x` in float64. Raises `RunFailure` for
        constants that it does not hold, and `NotImplementedError` if the engine cannot.
        """


@contextmanager
def failing(kinds: tuple[type[Exception], ...] = _MISFITS) -> Iterator[None]:
    """What an engine raises on an artifact that does not fit together, errors of these kinds, becomes a `RunFailure`."""
    try:
        yield
    except RunFailure:
        raise
    except kinds as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # TorchScript puts its traceback before the cause, others behind it.
        raise RunFailure(lines[-1 if "TorchScript" in lines[0] else 0]) from error


def replaced(held: dict[str, Tensor], constants: dict[str, Tensor]) -> tuple[dict[str, Tensor], torch.dtype]:
    """All that is held, `constants` in place of what they name, floats in one type: float64 if `constants` are, else float32.

    Raises `RunFailure` if nothing of that name, shape and kind is held.
    """
    for name, value in constants.items():
        if name not in held:
            raise RunFailure(f"it holds no constant {name}")
        if value.shape != held[name].shape or value.is_floating_point() != held[name].is_floating_point():
            seen, wanted = (f"{t.dtype} {list(t.shape)}" for t in (held[name], value))
            raise RunFailure(f"its constant {name} is {seen}, not {wanted}")
    dtype = torch.float64 if any(value.dtype == torch.float64 for value in constants.values()) else torch.float32
    values = {**held, **constants}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in values.items()}, dtype
