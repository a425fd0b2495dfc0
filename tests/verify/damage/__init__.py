"""The exam of the verifier: kinds of damage, each a small function that makes seeded mutants of sound artifacts.

One file per format, and one for the constants that all of them hold. `oracle` tells mutants from files that only look different.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.verify.damage.workbench import Case

ROUNDING = 4e-6

Damage = Callable[[Case, bytes, Random], bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of damage: `damage(case, artifact, rng)` returns the damaged artifact. It is done to `cases` in turn.

    `quiet` says that no mutant of it flips a single spike on the data of the exam. `shown` says that what each mutant does must
    give it away, not the proof alone, which finds every other graph and constant. `rounding` is how far a value may be from the
    sound one and count as the same, as a share of the largest of its sample.
    """

    family: str
    name: str
    damage: Damage
    cases: tuple[Case, ...]
    mutants: int
    quiet: bool = False
    shown: bool = False
    rounding: float = ROUNDING

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


KINDS: dict[str, Kind] = {}


def register(family: str, name: str, damage: Damage, on: tuple[Case, ...], mutants: int, **options: Any) -> None:
    """Add a kind. A name stands for one kind only; every kind has its own order of cases."""
    shuffled = tuple(Random(name).sample(on, len(on)))
    kind = Kind(family, name, damage, shuffled, mutants, **options)
    if str(kind) in KINDS:
        raise ValueError(f"{kind} is registered twice")
    KINDS[str(kind)] = kind


def cases(suffix: str, form: str = "", network: str = "", **contract: object) -> tuple[Case, ...]:
    """The cases of a format, restricted to what is given."""
    found = [case for case in _CASES if case.suffix == suffix and form in ("", case.form) and network in ("", case.network)]
    return tuple(case for case in found if all(getattr(case, key) == value for key, value in contract.items()))


def but(cases: tuple[Case, ...], network: str) -> tuple[Case, ...]:
    """`cases` without those of a network."""
    return tuple(case for case in cases if case.network != network)


def _of(suffix: str) -> list[Case]:
    step = [
        Case("per_channel", suffix, "step"),
        Case("per_element", suffix, "step", event=True, readout="last"),
        Case("plain", suffix, "step", readout="sum"),
    ]
    if suffix == ".pt2":
        return step
    return [
        Case("per_channel", suffix),
        Case("per_element", suffix, readout="sum"),
        Case("plain", suffix, event=True, readout="last"),
        Case("per_channel", suffix, event=True, readout="none"),
        Case("per_element", suffix, event=True),
        Case("plain", suffix, readout="none"),
        *step,
    ]


_CASES = [case for suffix in (".onnx", ".ts", ".pt2") for case in _of(suffix)]
