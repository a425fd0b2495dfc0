"""What converting did, found and measured."""

from __future__ import annotations

from dataclasses import dataclass

from snnconv.results.folding import Site
from snnconv.results.verdict import Verdict


@dataclass(frozen=True)
class Measure:
    """Size in bytes of one form of the network, and its median latency in milliseconds on `batch` samples at once."""

    name: str
    size: int
    latency: float
    batch: int = 1


@dataclass(frozen=True)
class Conversion:
    """The result of `convert`: what was folded, what was written, how each file was verified and judged."""

    source: str
    arch: str
    sites: tuple[Site, ...]
    verdicts: tuple[Verdict, ...]
    measures: tuple[Measure, ...] = ()

    @property
    def equivalent(self) -> bool:
        """Whether no check of any artifact failed."""
        return all(verdict.equivalent for verdict in self.verdicts)
