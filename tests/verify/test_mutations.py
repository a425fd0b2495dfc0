"""The exam of the verifier: what changes a potential, a spike or a decision beyond rounding is found, and nothing else is.

Hundreds of seeded mutants of sound artifacts, in kinds (`tests.verify.damage`). That each of them is a mutant is settled first,
without the verifier. The score is printed at the end of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
import torch

from snnconv.errors import SnnconvError
from snnconv.nn import READOUTS
from snnconv.runtimes import Candidate, open_candidate
from snnconv.verdict import Verdict, judge
from snnconv.verify import verify
from tests.networks import NETWORKS
from tests.verify.damage import KINDS, Kind, constants, onnx, oracle, program, torchscript, workbench
from tests.verify.damage.workbench import Case

FAMILIES = (constants, onnx, torchscript, program)
"""Importing a family registers its kinds."""

SLIPS: dict[str, str] = {}
"""Kinds of which the verifier is known to miss some mutants, and why."""

ARTIFACTS = [(".onnx", "sequence"), (".onnx", "step"), (".ts", "sequence"), (".ts", "step"), (".pt2", "step")]
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
    for number in range(kind.mutants):
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


def examine(case: Case, candidate: Candidate, seed: int = 0) -> Verdict:
    """What the verifier says of a candidate. What it would compute from the source alone is computed once."""
    exactly, between = workbench.folded(case, torch.float64), workbench.between_decisions(case, seed)
    names = ("source", f"net{case.suffix}")
    with (
        patch("snnconv.verify.fold", lambda program: exactly),
        patch("snnconv.verify.near_thresholds", lambda program, some, seed: between),
    ):
        found = verify(workbench.source(case), candidate, workbench.data(case, seed), names, folded=workbench.folded(case))
    return judge(found)


def missed(mutant: Mutant, folder: Path) -> str:
    """What the verifier makes of a mutant that it does not find; empty where it does, or where the file cannot even be opened."""
    path = folder / f"mutant{mutant.case.suffix}"
    path.write_bytes(mutant.artifact)
    try:
        candidate = open_candidate(path)
    except SnnconvError:
        return ""
    try:
        return "equivalent" if examine(mutant.case, candidate).equivalent else ""
    except Exception as error:
        return f"a crash ({type(error).__name__}: {error})"


def _kinds() -> list:
    known = {name: pytest.mark.xfail(strict=True, raises=SlippedThrough, reason=reason) for name, reason in SLIPS.items()}
    return [pytest.param(kind, marks=[known[name]] if name in known else [], id=name) for name, kind in KINDS.items()]


@pytest.mark.parametrize("kind", _kinds())
def test_every_mutant_is_caught(kind: Kind, tmp_path: Path, record_property: Record) -> None:
    all_ = list(mutants(kind))
    slipped = [f"{mutant}: {verdict}" for mutant in all_ if (verdict := missed(mutant, tmp_path))]
    score = {
        "kind": str(kind),
        "family": kind.family,
        "mutants": len(all_),
        "caught": len(all_) - len(slipped),
        "quiet": kind.quiet,
    }
    record_property("exam", score)
    if slipped:
        raise SlippedThrough(f"{len(slipped)} of {len(all_)}: {'; '.join(slipped)}")


def test_many_kinds_flip_no_spike_on_the_data() -> None:
    """Of those, a comparison of spikes or decisions on data would find none."""
    assert sum(kind.quiet and str(kind) not in SLIPS for kind in KINDS.values()) >= 8


@pytest.mark.parametrize("event", [False, True], ids=["still", "frames"])
@pytest.mark.parametrize(("suffix", "form"), ARTIFACTS, ids=lambda part: part.lstrip("."))
@pytest.mark.parametrize("network", NETWORKS)
def test_no_sound_artifact_is_accused(network: str, suffix: str, form: str, event: bool, record_property: Record) -> None:
    cases = [Case(network, suffix, form, event, readout) for readout in READOUTS]
    verdicts = {
        str(case): examine(case, oracle.opened(case, workbench.artifact(case)), seed) for seed, case in enumerate(cases, 1)
    }
    accused = {case: verdict.faults for case, verdict in verdicts.items() if not verdict.equivalent}
    record_property("exam", {"sound": len(verdicts), "accused": len(accused)})
    assert not accused
