"""What does not depend on all of the data, level by level: proof, algebra, and the probes of deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snnconv.data import Samples, first
from snnconv.engines import Candidate
from snnconv.results import NOT_CHECKED, Check, Probe
from snnconv.verify.algebra import check_algebra
from snnconv.verify.comparisons import check_comparisons
from snnconv.verify.constants import check_constants
from snnconv.verify.deployment import Compared, compare_layers
from snnconv.verify.description import check_description
from snnconv.verify.graph import check_graph
from snnconv.verify.plan import Plan
from snnconv.verify.probes import extremes
from snnconv.verify.reference import Reference
from snnconv.verify.running import observe
from snnconv.verify.stored import check_stored

_FEW = 2
"""How many samples of the data the levels before it need."""
_CHUNK_POTENTIALS = 2**24
"""How many potentials, of all layers and steps, are judged at once: they and their spikes are what memory is needed for."""
_LARGEST_CHUNK = 80


@dataclass(frozen=True)
class Run:
    """One candidate, held against its reference.

    `fresh` says that it was exported from the reference's own fold just now, so that another export would show nothing.
    """

    reference: Reference
    candidate: Candidate
    data: Samples
    plan: Plan
    fresh: bool = False

    @cached_property
    def some(self) -> Tensor:
        """The first few samples."""
        return first(self.data, _FEW)

    @property
    def chunk_size(self) -> int:
        """How many samples are judged at once; it depends on the network alone, so that every shard makes the same chunks."""
        contract, neurons = self.reference.folded.contract, self.reference.folded.neurons.values()
        potentials = contract.timesteps * sum(torch.Size(neuron.shape).numel() for neuron in neurons)
        size, batch = max(1, min(_LARGEST_CHUNK, _CHUNK_POTENTIALS // potentials)), self.candidate.batch
        return size if batch is None else -(-size // batch) * batch

    @cached_property
    def graph(self) -> Check:
        """The candidate's graph against that of a fresh export."""
        return check_graph(self.reference, self.candidate)

    def ours(self) -> bool:
        """Whether the candidate's graph is that of a fresh export."""
        return self.fresh or not self.graph.open

    @property
    def observes(self) -> bool:
        """Whether layers are compared: deployment is asked for, and the candidate shows what they do."""
        return "deployment" in self.plan.levels and not self.candidate.unobservable

    def compare(self, x: Tensor, start: int, nearest: bool = False) -> Compared:
        """Run both on `x` `[B, ...]`, whose first sample is number `start`."""
        return compare_layers(self.reference, x, observe(self.candidate, x), start, nearest)


@dataclass(frozen=True)
class Level:
    """One level by its name, and what it checks of a run."""

    name: str
    check: Callable[[Run], list[Check]]


def proof(run: Run) -> list[Check]:
    """Every constant, the graph, and what the artifact tells of itself, against a fresh fold and a fresh export."""
    checks = check_constants(run.reference, run.candidate, run.ours())
    if run.fresh:
        return checks
    described = check_description(run.reference, run.candidate)
    return [*checks, *described, run.graph, *check_stored(run.reference.folded, run.candidate)]


def algebra(run: Run) -> list[Check]:
    """Source and artifact in float64."""
    return check_algebra(run.reference, run.candidate, run.some, run.ours)


def deployment(run: Run) -> list[Check]:
    """Does the artifact compare as its source does? Not checked if it does not show what its neurons do."""
    if run.candidate.unobservable:
        return [Check("deployment", "", False, run.candidate.unobservable, open=NOT_CHECKED)]
    return check_comparisons(run.reference, run.candidate, run.some, run.ours)


BEFORE_DATA = (Level("proof", proof), Level("algebra", algebra), Level("deployment", deployment))


def judge_probes(run: Run) -> list[Probe]:
    """Adversarial inputs, judged like data."""
    near = run.reference.near_thresholds(run.some, run.plan.seed)
    kinds = {"extreme": extremes(run.reference.folded.contract), "threshold": near}
    return [_probe(name, x, run) for name, x in kinds.items() if len(x)]


def _probe(name: str, x: Tensor, run: Run) -> Probe:
    parts = [run.compare(part, i * run.chunk_size, nearest=True) for i, part in enumerate(x.split(run.chunk_size))]
    layers = parts[0].layers
    for part in parts[1:]:
        layers = [a + b for a, b in zip(layers, part.layers, strict=True)]
    reached = {layer: [p.nearest[layer] for p in parts] for layer in parts[0].nearest}
    nearest = {layer: min((units for units in all_ if units is not None), default=None) for layer, all_ in reached.items()}
    return Probe(name, len(x), tuple(layers), nearest)
