"""Results as plain data: what folding did and what verifying found. No torch here, so that reports stay light."""

from __future__ import annotations

from dataclasses import dataclass, field

EXACT, ROUNDING, REFUSED = "exact", "rounding", "refused"


@dataclass(frozen=True)
class Site:
    """What became of one norm: `exact`, `rounding` or `refused`, and into what it went.

    `detail` says what a reader wants to know: counts of inverted and constant channels, the range of thresholds, the reason of a
    refusal.
    """

    path: str
    kind: str
    into: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class Check:
    """One thing that was checked, on one level, for one layer or for the whole (`layer` is empty)."""

    level: str
    layer: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class LayerTally:
    """One spiking layer, judged on the candidate's own inputs and state over all samples and steps.

    Args:
        decisions: spikes compared.
        explained, unexplained: flips whose potential lies within, or beyond, the rounding bound of the threshold.
        outside: potentials further from the reference than the rounding bound.
        undecided: spikes that are not what the folded threshold says about the candidate's own potential.
        worst: largest potential error as a share of its bound.
        first: `(sample, step)` of the first fault or unexplained flip, or None.
        rate_reference, rate_candidate: mean spikes per neuron and step of the free-running source and of the candidate.
    """

    name: str
    decisions: int = 0
    explained: int = 0
    unexplained: int = 0
    outside: int = 0
    undecided: int = 0
    worst: float = 0.0
    first: tuple[int, int] | None = None
    rate_reference: float = 0.0
    rate_candidate: float = 0.0

    @property
    def sound(self) -> bool:
        return not (self.unexplained or self.outside or self.undecided)


@dataclass(frozen=True)
class Task:
    """What a user of the network sees: decisions and logits of the bare artifact against the source, free-running."""

    samples: int
    agreement: float
    logit_error: float
    accuracy_reference: float | None = None
    accuracy_candidate: float | None = None


@dataclass(frozen=True)
class Verification:
    """Everything found about one candidate."""

    source: str
    candidate: str
    runtime: str
    data: str
    checks: tuple[Check, ...]
    layers: tuple[LayerTally, ...] = ()
    task: Task | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def equivalent(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def faults(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


@dataclass(frozen=True)
class Measure:
    """Size in bytes and median latency in milliseconds at batch 1 of one form of the network."""

    name: str
    size: int
    latency: float


@dataclass(frozen=True)
class Conversion:
    """The result of `convert`: what was folded, what was written, how each file was verified."""

    source: str
    arch: str
    sites: tuple[Site, ...]
    verifications: tuple[Verification, ...]
    measures: tuple[Measure, ...] = field(default=())

    @property
    def equivalent(self) -> bool:
        return all(v.equivalent for v in self.verifications)
