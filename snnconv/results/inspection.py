"""What inspecting a source saw."""

from __future__ import annotations

from dataclasses import dataclass, field

from snnconv.results.folding import REFUSED, Site


@dataclass(frozen=True)
class NeuronView:
    """A neuron by name, the shape of its potential as text, and its semantics in words."""

    name: str
    shape: str
    words: str


@dataclass(frozen=True)
class Inspection:
    """The answer of `snnconv inspect`.

    `unknown` names the class of every layer that keeps a state without an adapter, by its path. `operations` are the
    multiply-accumulates of one time step on one sample, and `state_bytes` what is kept of it between two steps; both are None
    if a layer is unknown. `formats` says of every format why it cannot hold the folded network, in words that are empty if it
    can; there is none if the network does not fold. `adapters` are adapters to
    paste for the classes of layers that were identified by their behaviour.
    """

    arch: str
    sha256: str
    reference: str
    settings: dict[str, str]
    parameters: int
    notes: tuple[str, ...]
    neurons: tuple[NeuronView, ...]
    sites: tuple[Site, ...]
    unknown: dict[str, str] = field(default_factory=dict)
    operations: int | None = None
    state_bytes: int | None = None
    formats: dict[str, str] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)

    @property
    def folds(self) -> bool:
        """Whether every norm folds and no layer is unknown."""
        return not self.unknown and not any(site.outcome == REFUSED for site in self.sites)
