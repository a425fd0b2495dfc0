"""What every runtime gives: an artifact that can be run, watched and looked into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from snnconv.artifact.metadata import METADATA_FORMAT
from snnconv.errors import InputError
from snnconv.files import parse_json, undamaged
from snnconv.ir.program import TimeContract

LARGEST_BATCH = 2**20


class RunFailure(Exception):
    """The engine could not run the artifact: a finding about the artifact, not a mistake of the user."""


@contextmanager
def failing() -> Iterator[None]:
    """What torch raises on an artifact that does not fit together becomes a `RunFailure`."""
    try:
        yield
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # TorchScript puts its traceback before the cause, others behind it.
        raise RunFailure(lines[-1 if "TorchScript" in lines[0] else 0]) from error


@dataclass(frozen=True)
class Observation:
    """One run of an artifact: its output, and of every neuron the potentials and spikes `[B, ...]`, one tensor per step.

    Spikes are bool, or 0 and 1 in the engine's floating type.
    """

    y: Tensor
    potentials: dict[str, list[Tensor]]
    spikes: dict[str, list[Tensor]]


class Artifact(Protocol):
    """An artifact that was read, and what it says about itself; `sha256` is of the bytes that were read.

    `load` makes it ready to run. What holds code of its own (TorchScript) runs it there.
    """

    @property
    def format(self) -> str: ...
    @property
    def runtime(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def contract(self) -> TimeContract: ...
    @property
    def sha256(self) -> str: ...
    @property
    def sha256_of_source(self) -> str: ...
    @property
    def batch(self) -> int | None: ...
    def load(self) -> Candidate: ...


class Candidate(Artifact, Protocol):
    """An artifact in its runtime.

    `constants()` are the weights and neuron constants it holds, by the paths of the lowered graph; `run` is the bare artifact as
    a device would run it; `observe` also looks at every neuron. Both raise `RunFailure` where the engine gives up.

    `with_constants` is the same artifact with other values, of the same shapes, for some of its constants. If those are float64,
    the whole of it computes in float64: its own graph, from `x` in float64. Raises `RunFailure` for constants it does not hold.

    `structure()` is what it computes, line by line, whatever its values are called; the values of its constants are not in it.
    """

    def constants(self) -> dict[str, Tensor]: ...
    def structure(self) -> list[str]: ...
    def run(self, x: Tensor) -> Tensor: ...
    def observe(self, x: Tensor) -> Observation: ...
    def with_constants(self, constants: dict[str, Tensor]) -> Candidate: ...


def replaced(held: dict[str, Tensor], constants: dict[str, Tensor]) -> tuple[dict[str, Tensor], torch.dtype]:
    """All that is held, `constants` in place of what they name, floats in one type: float64 if `constants` are, else float32.

    Raises `RunFailure` where nothing of that name, shape and kind is held.
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


def renamed(lines: Iterable[str], names: re.Pattern[str]) -> list[str]:
    """`lines` with every match of `names` replaced by the number of its first appearance."""
    numbers: dict[str, str] = {}
    return [names.sub(lambda match: numbers.setdefault(match.group(), f"%{len(numbers)}"), line) for line in lines]


@dataclass(frozen=True)
class Card:
    """The part of an artifact's metadata that a runtime needs."""

    form: str
    batch: int | None
    contract: TimeContract
    neurons: dict[str, tuple[int, ...]]
    sha256_of_source: str
    counts_steps: bool

    @property
    def over_time(self) -> tuple[TimeContract, dict[str, tuple[int, ...]], bool]:
        """What it takes to run a step form over time."""
        return self.contract, self.neurons, self.counts_steps


@dataclass(frozen=True)
class Carded:
    """The part of an `Artifact` that its metadata answers."""

    card: Card
    sha256: str

    @property
    def form(self) -> str:
        return self.card.form

    @property
    def contract(self) -> TimeContract:
        return self.card.contract

    @property
    def sha256_of_source(self) -> str:
        return self.card.sha256_of_source

    @property
    def batch(self) -> int | None:
        return self.card.batch


def read_card(path: Path, text: str | bytes) -> Card:
    """Read the metadata of an artifact. Raises `InputError` if there is none of ours, or of another format."""
    if not text:
        raise InputError(f"{path}: carries no snnconv metadata", "verify takes artifacts that snnconv exported")
    with undamaged(path, "its snnconv metadata is damaged", "export it again"):
        metadata = parse_json(text)
        if metadata["format"] != METADATA_FORMAT:
            raise InputError(
                f"{path}: its metadata is of format {metadata['format']!r}, but this snnconv reads {METADATA_FORMAT}",
                "use the snnconv that wrote it, or export it again",
            )
        contract = TimeContract(**{**metadata["contract"], "input_shape": tuple(map(int, metadata["contract"]["input_shape"]))})
        batch, form = metadata["batch"], metadata["form"]
        if form not in ("sequence", "step") or not (batch is None or (isinstance(batch, int) and 0 < batch <= LARGEST_BATCH)):
            raise ValueError(f"form {form!r}, batch {batch!r}")
        neurons = {str(n["name"]): tuple(map(int, n["state"])) for n in metadata["neurons"]}
        return Card(form, batch, contract, neurons, str(metadata["source"]["sha256"]), bool(metadata["counts_steps"]))
