"""What verifying found about one candidate, before any policy is asked.

Tallies over samples are counts and extremes, so that those of disjoint samples add up to exactly what one run would have found.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

LEVELS = ("proof", "algebra", "deployment", "task")
"""The levels of a verification, in the order in which they run."""
OUTPUT = "output"
"""The name under which the network's output stands among the layers; of several, this word before the name of each."""
DEFAULT = "default"
"""The origin of a setting that nobody gave and that is in no file: it was assumed."""

UNPROVEN: Literal["unproven"] = "unproven"
NOT_CHECKED: Literal["not checked"] = "not checked"

MARGIN_BINS_PER_DECADE = 2
MARGIN_DECADES = (-2, 6)
MARGIN_BINS = (MARGIN_DECADES[1] - MARGIN_DECADES[0]) * MARGIN_BINS_PER_DECADE


def output_layer(name: str) -> str:
    """The name under which an output stands among the layers: `output` for the only one, whose name is empty."""
    return f"{OUTPUT} {name}".rstrip()


def is_output(layer: str) -> bool:
    """Whether an output stands under that name among the layers."""
    return layer == OUTPUT or layer.startswith(f"{OUTPUT} ")


@dataclass(frozen=True)
class Check:
    """One thing that was checked, on one level, for one layer or for the whole (`layer` is empty).

    Attributes:
        passed: whether it was shown to be right.
        detail: what was seen or, if it was not checked, why.
        probe: the kind of probe that showed it; empty for the data, and for what needs none.
        open: why a check that did not pass is no fault: "unproven" if what was seen shows neither that the artifact is right nor
            that it is wrong, "not checked" if the engine or the source cannot do what the check takes; empty otherwise.
    """

    level: str
    layer: str
    passed: bool
    detail: str
    probe: str = ""
    open: Literal["", "unproven", "not checked"] = ""

    @property
    def failed(self) -> bool:
        """Whether it shows a fault."""
        return not (self.passed or self.open)


@dataclass(frozen=True)
class LayerTally:
    """One spiking layer, judged on the candidate's own inputs and state over all samples and steps.

    Args:
        values: potentials compared, each with its spike.
        explained, unexplained: flips whose potential lies within, or beyond, the rounding bound of the threshold.
        outside: potentials further from the reference than the rounding bound.
        inconsistent: spikes that are not what the folded threshold says about the candidate's own potential.
        worst: largest potential error as a share of its bound; None if a potential is not a number.
        first: `(sample, step)` of the first fault, or None.
        spikes_reference, spikes_candidate: spikes of the free-running source and of the candidate.
        margins: of the first sample of every chunk, how far its potentials are from the threshold, in rounding bounds: counts in
            `MARGIN_BINS` bins of equal width on a logarithmic axis over `MARGIN_DECADES`, the outer ones open.
        flips: the same counts of every flip.
        measured: whether its bound rests on the measured error of an operator for which no rounding rule is known.
    """

    name: str
    values: int = 0
    explained: int = 0
    unexplained: int = 0
    outside: int = 0
    inconsistent: int = 0
    worst: float | None = 0.0
    first: tuple[int, int] | None = None
    spikes_reference: int = 0
    spikes_candidate: int = 0
    margins: tuple[int, ...] = ()
    flips: tuple[int, ...] = ()
    measured: bool = False

    @property
    def sound(self) -> bool:
        """Whether the layer does what its source does: no flip that rounding does not explain, nothing outside its bound."""
        return not (self.unexplained or self.outside or self.inconsistent)

    @property
    def rate_reference(self) -> float:
        """Mean spikes per neuron and step of the free-running source."""
        return self.spikes_reference / max(self.values, 1)

    @property
    def rate_candidate(self) -> float:
        """Mean spikes per neuron and step of the candidate."""
        return self.spikes_candidate / max(self.values, 1)

    def __add__(self, other: LayerTally) -> LayerTally:
        """Both tallies of one layer, over disjoint samples, as one."""
        counts = ("values", "explained", "unexplained", "outside", "inconsistent", "spikes_reference", "spikes_candidate")
        return replace(
            self,
            **{name: getattr(self, name) + getattr(other, name) for name in counts},
            worst=None if self.worst is None or other.worst is None else max(self.worst, other.worst),
            first=_earlier(self.first, other.first),
            margins=_sum(self.margins, other.margins),
            flips=_sum(self.flips, other.flips),
            measured=self.measured or other.measured,
        )


@dataclass(frozen=True)
class Task:
    """What a user of the network sees: decisions and logits of the artifact against the source, both free-running.

    Args:
        samples, agreeing: how many, and on how many of them both decide alike.
        explained: on how many they do not, but every spike that differs goes back to an explained flip and nothing else is wrong.
        logit_error: largest difference of two logits; None if a logit is not a number.
        labelled, right_reference, right_candidate: samples with a label, and how many of them either side gets right.
        bare: samples on which the artifact also ran unwatched, as a device would run it.
        bare_agreeing: of those, on how many the unwatched run decides like the source.
        bare_unlike: of those, on how many its logits differ from the watched run's beyond rounding.
        bare_explained: of those, on how many it decides differently, with the logits of a watched run that is `explained`.
    """

    samples: int
    agreeing: int
    logit_error: float | None
    labelled: int = 0
    right_reference: int = 0
    right_candidate: int = 0
    bare: int = 0
    bare_agreeing: int = 0
    bare_unlike: int = 0
    explained: int = 0
    bare_explained: int = 0

    @property
    def agreement(self) -> float:
        """The share of samples on which both decide alike."""
        return self.agreeing / max(self.samples, 1)

    @property
    def accuracy_reference(self) -> float | None:
        """The share of labelled samples that the source gets right; None if no sample has a label."""
        return self.right_reference / self.labelled if self.labelled else None

    @property
    def accuracy_candidate(self) -> float | None:
        """The share of labelled samples that the candidate gets right; None if no sample has a label."""
        return self.right_candidate / self.labelled if self.labelled else None

    def __add__(self, other: Task) -> Task:
        """Both tallies, over disjoint samples, as one."""
        counts = [name for name in vars(self) if name != "logit_error"]
        errors = (self.logit_error, other.logit_error)
        error = None if errors[0] is None or errors[1] is None else max(errors[0], errors[1])
        return Task(**{name: getattr(self, name) + getattr(other, name) for name in counts}, logit_error=error)


@dataclass(frozen=True)
class Difference:
    """The first spike that differs between the free-running source and the candidate: earliest sample, then step, then layer.

    `neurons` are the flat indices of some neurons of the layer, the one that differs among them; `reference` and `candidate` are
    their spikes, one string of 0 and 1 per step.
    """

    sample: int
    step: int
    layer: str
    neuron: int
    neurons: tuple[int, ...]
    reference: tuple[str, ...]
    candidate: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """One kind of adversarial input, judged like data. `nearest` is, per layer, the smallest distance of a potential from its
    threshold that was reached, in units in the last place of the threshold; None if no threshold is finite."""

    name: str
    samples: int
    layers: tuple[LayerTally, ...]
    nearest: dict[str, float | None]

    @property
    def total(self) -> LayerTally:
        """All layers as one, without the histograms."""
        layers = (replace(tally, name="", margins=(), flips=()) for tally in self.layers)
        return reduce(LayerTally.__add__, layers, LayerTally(""))

    @property
    def closest(self) -> tuple[float, str] | None:
        """The smallest distance that was reached and the layer of it; None if no threshold is finite."""
        reached = [(distance, layer) for layer, distance in self.nearest.items() if distance is not None]
        return min(reached, default=None)


@dataclass(frozen=True)
class Thresholds:
    """The folded thresholds of one layer: how many there are, fire below instead of above, fire always or never; and the finite
    ones, from `low` to `high`, counted in bins of equal width, or in a single one if all are alike."""

    layer: str
    count: int
    inverted: int
    always: int
    never: int
    low: float | None
    high: float | None
    counts: tuple[int, ...]


@dataclass(frozen=True)
class DataSummary:
    """The samples of a run. `fingerprint` is the sum of the SHA-256 of every sample with its number and label, modulo 2^256: it
    does not depend on how the samples were split, and tells two data sets apart.

    `length` is how many samples the whole data holds, None if that is not known before the end; `start` is the fingerprint of the
    first few of them. Every shard of a run knows both.
    """

    origin: str
    samples: int
    fingerprint: str
    length: int | None = None
    start: str = ""


@dataclass(frozen=True)
class Verification:
    """Everything found about one candidate, before any policy is asked (see `snnconv.results.verdict`).

    Args:
        source, candidate: their names; `source_sha256` is of the checkpoint, `candidate_sha256` of the artifact's file.
        runtime, form: the engine, and "sequence" or "step".
        environment: versions and kind of CPU that computed this.
        levels: the levels that ran.
        shard: `(i, n)` if only every n-th chunk was run, starting with the i-th; None for a whole run.
        checks: what holds or fails whatever the policy: contract, proof, algebra, failures to run.
        layers, task: the deployment and task levels, on the data.
        outputs: of a network with several outputs, the task of each by its name; `task` is None then. Labels go with the first of
            them that can be one class a sample.
        reference: whose code the candidate was held against, in words.
        settings: T, kind of input and the like, each as text with its own origin: `4 (default)`.
    """

    source: str
    source_sha256: str
    arch: str
    candidate: str
    candidate_sha256: str
    runtime: str
    form: str
    data: DataSummary
    levels: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    checks: tuple[Check, ...] = ()
    layers: tuple[LayerTally, ...] = ()
    probes: tuple[Probe, ...] = ()
    task: Task | None = None
    difference: Difference | None = None
    thresholds: tuple[Thresholds, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    reference: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Task] = field(default_factory=dict)

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of every output by its name, which is empty for the only one."""
        return {**({} if self.task is None else {"": self.task}), **self.outputs}

    @property
    def agreement(self) -> float | None:
        """The share of samples on which both decide alike, the least of several outputs; None if no task was looked at."""
        return min((task.agreement for task in self.tasks.values()), default=None)

    def with_tasks(self, tasks: dict[str, Task]) -> Verification:
        """The same with other `tasks`."""
        return replace(self, task=tasks.get(""), outputs={name: task for name, task in tasks.items() if name})


def _earlier(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    found = [first for first in (a, b) if first is not None]
    return min(found, default=None)


def _sum(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True)) if a and b else a or b
