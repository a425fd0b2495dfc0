"""What artifacts are held against: a source, and what follows from it alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from snnconv.engines import Deployment, open_content
from snnconv.export import FORMATS, encode
from snnconv.files import Content
from snnconv.fold import drops, fold, twin
from snnconv.ir.program import SpikingProgram
from snnconv.lower import lower
from snnconv.sources import Source
from snnconv.verify.probes import near_thresholds
from snnconv.verify.rounding import Magnitudes


class FreshExport:
    """A fresh export: as it is read back and, once somebody asks, what it computes and holds."""

    def __init__(self, deployed: Deployment) -> None:
        self.deployed = deployed

    @cached_property
    def outline(self) -> tuple[list[str], dict[str, Tensor]]:
        """What the export computes, line by line, and the constants that it holds, by their names."""
        return self.deployed.structure(), self.deployed.load().constants()


@dataclass(eq=False)
class Reference:
    """A source, its folds, its exports and its probes: each is made when it is first asked for, and then kept.

    One reference serves every candidate of a run. Whoever has one of these things already puts it in: `folded`, `folded64`,
    `exports` by `(format, form, batch)`.
    """

    source: Source
    exports: dict[tuple[str, str, int | None], FreshExport] = field(default_factory=dict)
    _probes: dict[tuple[int, bytes], Tensor] = field(default_factory=dict)

    @cached_property
    def folded(self) -> SpikingProgram:
        """The fold of the source. Raises `FoldRefused`."""
        return fold(self.source.program)

    @cached_property
    def source64(self) -> Source:
        """The source computing in float64."""
        return self.source.to(torch.float64)

    @cached_property
    def folded64(self) -> SpikingProgram:
        """The fold of the source in float64, with the same optional constants as `folded`."""
        return twin(self._exact, self.folded)

    @cached_property
    def drops(self) -> bool:
        """Whether `folded64` lacks a constant of the source in float64, which rounds to nothing in the source's own type."""
        return drops(self._exact, self.folded)

    @cached_property
    def _exact(self) -> SpikingProgram:
        return fold(self.source64.program)

    @cached_property
    def magnitudes(self) -> Magnitudes:
        """How large the sums of the source are, from which their rounding bounds follow."""
        return Magnitudes(self.source.program)

    def constants(self, form: str) -> dict[str, Tensor]:
        """What an artifact of that form must hold, by its name."""
        return lower(self.folded, form).constants()

    def constants64(self, form: str) -> dict[str, Tensor]:
        """The same before it was rounded."""
        return lower(self.folded64, form).constants()

    def export(self, format: str, form: str, batch: int | None) -> FreshExport:
        """A fresh export of the fold."""
        key = format, form, batch
        if key not in self.exports:
            found = FORMATS[format]
            data = encode(self.folded, found, form, batch)
            deployed = open_content(Content(Path(f"a fresh export{found.suffixes[0]}"), data), format)
            self.exports[key] = FreshExport(deployed)
        return self.exports[key]

    def near_thresholds(self, some: Tensor, seed: int) -> Tensor:
        """Inputs next to decisions of the network, found from inputs `some` `[N, ...]` (see `snnconv.verify.probes`)."""
        key = _probe_key(some, seed)
        if key not in self._probes:
            self._probes[key] = near_thresholds(self.folded, some, seed)
        return self._probes[key]

    def put_probes(self, some: Tensor, seed: int, found: Tensor) -> None:
        """Have `near_thresholds` give `found` for `some` and `seed`."""
        self._probes[_probe_key(some, seed)] = found


def _probe_key(some: Tensor, seed: int) -> tuple[int, bytes]:
    return seed, hashlib.sha256(some.contiguous().numpy().tobytes()).digest()
