"""The exam of the verifier: what changes a potential, a spike or a decision beyond rounding is found, and nothing else is.

Hundreds of seeded mutants of sound artifacts, in kinds (`tests.verify.damage`). That each of them is a mutant is settled first,
without the verifier. The score is printed at the end of the run. An ordinary run takes a share of the mutants of some kinds; with
SNNCONV_EXAM=1 (`make test-all`) all kinds are examined with all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from snnconv.engines import Deployment, open_candidate, open_content
from snnconv.errors import SnnconvError
from snnconv.files import Content
from snnconv.ir.time import READOUTS
from snnconv.results.verdict import Verdict, judge
from snnconv.verify import verify
from tests.verify.damage import (
    KINDS,
    Kind,
    constants,
    found_neurons,
    mechanisms,
    memories,
    onnx,
    operators,
    oracle,
    outputs,
    over_time,
    per_step,
    program,
    read_outs,
    torchscript,
    workbench,
)
from tests.verify.damage.workbench import Case

FAMILIES = (constants, onnx, torchscript, program, per_step, read_outs, memories, found_neurons, operators, over_time, outputs)
"""Importing a family registers its kinds."""

SLIPS: dict[str, str] = {}
"""Kinds of which the verifier is known to miss some mutants, and why."""

ARTIFACTS = [(".onnx", "sequence"), (".onnx", "step"), (".ts", "sequence"), (".ts", "step"), (".pt2", "step")]
SHARE = float(os.environ.get("SNNCONV_EXAM", "0.25"))
_TRIES = 40

Record = Callable[[str, Any], None]


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    workbench.share((base.parent if base.name.startswith("popen") else base) / "exam")


class SlippedThrough(AssertionError):
    """The verifier missed a mutant."""


@dataclass(frozen=True)
class Mutant:
    """A damaged artifact, and what makes it one."""

    case: Case
    seed: str
    artifact: bytes
    reason: str

    def __str__(self) -> str:
        return f"{self.case} (seed {self.seed!r}: {self.reason})"


def mutants(kind: Kind) -> Iterator[Mutant]:
    """The mutants of a kind, no two alike; where a seed damages nothing, the next one does."""
    made: set[bytes] = set()
    for number in range(max(1, round(SHARE * kind.mutants))):
        case = kind.cases[number % len(kind.cases)]
        seeds = (f"{kind.name}/{number}/{attempt}" for attempt in range(_TRIES))
        found = next(filter(None, (_mutant(kind, case, seed, made) for seed in seeds)), None)
        assert found is not None, f"{kind}: no seed damages {case}"
        made.add(found.artifact)
        yield found


def _mutant(kind: Kind, case: Case, seed: str, made: set[bytes]) -> Mutant | None:
    damaged = kind.damage(case, workbench.artifact(case), Random(seed))
    if damaged in made:
        return None
    reason = oracle.difference(case, damaged, kind.rounding)
    if not reason or (kind.quiet and oracle.flips(case, damaged) != 0):
        return None
    return Mutant(case, seed, damaged, reason)


def examine(case: Case, candidate: Deployment, seed: int = 0, anew: bool = False) -> Verdict:
    """What the verifier says of a candidate. What it would make of the source alone is made once, exports only if not `anew`."""
    reference = workbench.reference(case, seed) if not anew else workbench.without_exports(case, seed)
    names = ("source", f"net{case.suffix}")
    return judge(verify(reference, candidate, workbench.data(case, seed), names))


@dataclass(frozen=True)
class Outcome:
    """What the verifier makes of a mutant.

    `missed` is empty where it is found out. `behaves` is empty where something else than its graph gives it away, and `shown`
    says that what it does gives it away, without any proof. A file that cannot even be opened is found out, and so is one whose
    graph is not that of an export, whatever it does.
    """

    missed: str
    behaves: str
    shown: bool = True


def outcome(mutant: Mutant, folder: Path) -> Outcome:
    """The outcome for a mutant."""
    path = folder / f"mutant{mutant.case.suffix}"
    path.write_bytes(mutant.artifact)
    try:
        candidate = open_candidate(path).load()
    except SnnconvError:
        return Outcome("", "")
    try:
        verdict = examine(mutant.case, candidate)
    except Exception as error:
        crash = f"a crash ({type(error).__name__}: {error})"
        return Outcome(crash, crash)
    sound = all(check.passed for check in verdict.checks if (check.level, check.layer) != ("proof", "graph"))
    shown = any(fault.level != "proof" for fault in verdict.faults)
    return Outcome("equivalent" if verdict.equivalent else "", "equivalent" if sound else "", shown)


def _kinds() -> list:
    known = {name: pytest.mark.xfail(strict=True, raises=SlippedThrough, reason=reason) for name, reason in SLIPS.items()}
    return [pytest.param(kind, marks=[known[name]] if name in known else [], id=name) for name, kind in KINDS.items()]


@pytest.mark.sample(12)
@pytest.mark.parametrize("kind", _kinds())
def test_every_mutant_is_caught(kind: Kind, tmp_path: Path, record_property: Record) -> None:
    outcomes = [(mutant, outcome(mutant, tmp_path)) for mutant in mutants(kind)]
    slipped = [
        f"{mutant}: {found.missed or 'found by the proof alone'}"
        for mutant, found in outcomes
        if found.missed or (kind.shown and not found.shown)
    ]
    score = {
        "kind": str(kind),
        "family": kind.family,
        "quiet": kind.quiet,
        "mutants": len(outcomes),
        "caught": len(outcomes) - len(slipped),
        "behaviour": sum(not found.behaves for _, found in outcomes),
    }
    record_property("exam", score)
    if slipped:
        raise SlippedThrough(f"{len(slipped)} of {len(outcomes)}: {'; '.join(slipped)}")


def test_many_kinds_flip_no_spike_on_the_data() -> None:
    """Of those, a comparison of spikes or decisions on data would find none."""
    assert sum(kind.quiet and str(kind) not in SLIPS for kind in KINDS.values()) >= 8


@pytest.mark.sample(3)
@pytest.mark.parametrize("event", [False, True], ids=["still", "frames"])
@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS, ids=lambda part: part.lstrip("."))
@pytest.mark.parametrize("network", [*workbench.NETS, workbench.HEADS])
def test_no_sound_artifact_is_accused(network: str, suffix: str, form: str, event: bool, record_property: Record) -> None:
    readouts = READOUTS if SHARE >= 1 else READOUTS[event::2]
    cases = [Case(network, suffix, form, event, readout) for readout in readouts]
    # ONNX exports are slow: one read-out is held against an export of its own, the others against the very same one.
    anew = [suffix != ".onnx" or case is cases[0] for case in cases]
    verdicts = {
        str(case): examine(case, open_content(Content(Path(f"net{suffix}"), workbench.artifact(case))), seed, anew[seed])
        for seed, case in enumerate(cases)
    }
    accused = {case: verdict.faults for case, verdict in verdicts.items() if not verdict.equivalent}
    record_property("exam", {"sound": len(verdicts), "accused": len(accused)})
    assert not accused


@pytest.mark.sample(5)
@pytest.mark.parametrize("case", mechanisms.on(mechanisms.MECHANISMS), ids=str)
def test_no_sound_artifact_of_a_mechanism_is_accused(case: Case, record_property: Record) -> None:
    verdict = examine(
        case, open_content(Content(Path(f"net{case.suffix}"), workbench.artifact(case))), anew=case.suffix != ".onnx"
    )
    record_property("exam", {"sound": 1, "accused": len(verdict.faults)})
    assert verdict.equivalent, verdict.faults
