"""What is inside a source: its neurons in words, its norms and what each folds into."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

import snnconv
from snnconv.fold import FoldRefused, fold
from snnconv.neuron import Neuron
from snnconv.program import tensors
from snnconv.report.document import SCHEMA
from snnconv.results import REFUSED, Site
from snnconv.sources import Source


@dataclass(frozen=True)
class NeuronView:
    """A neuron by name, the shape of its potential as text, and its semantics in words."""

    name: str
    shape: str
    words: str


@dataclass(frozen=True)
class Inspection:
    """The answer of `snnconv inspect`."""

    arch: str
    sha256: str
    parameters: int
    settings: dict[str, str]
    notes: tuple[str, ...]
    neurons: tuple[NeuronView, ...]
    sites: tuple[Site, ...]

    @property
    def foldable(self) -> bool:
        return not any(site.outcome == REFUSED for site in self.sites)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"schema": SCHEMA, "snnconv": snnconv.__version__, "command": "inspect", "foldable": self.foldable, **asdict(self)}


def inspect(source: Source) -> Inspection:
    """Look into a source; a norm that cannot be folded is listed, not raised."""
    program = source.program
    try:
        sites = fold(program).sites
    except FoldRefused as refusal:
        sites = refusal.sites
    return Inspection(
        arch=program.origin.arch,
        sha256=program.origin.sha256,
        parameters=_parameters(source),
        settings=program.origin.settings,
        notes=source.notes,
        neurons=tuple(NeuronView(n, "x".join(map(str, v.shape)), words(v)) for n, v in program.neurons.items()),
        sites=sites,
    )


def words(neuron: Neuron) -> str:
    """`leak 0.25, fires on MPBN(u) > 0.5, hard reset to 0`."""
    sign = ">" if neuron.strict else ">="
    measured = "u" if neuron.norm is None else f"{neuron.norm.kind}(u)"
    where = "" if neuron.norm is None else " per element" if neuron.norm.mean.dim() > 1 else " per channel"
    # The carried amount has the leak applied; people think of the one before it.
    amount = _range(neuron.reset / neuron.leak if bool((neuron.leak != 0).all()) else neuron.reset)
    reset = f"soft reset by {amount}" if neuron.soft else f"hard reset to {amount}"
    reset = reset if neuron.resets else "no reset"
    carried = f", carries {measured}" if neuron.norm is not None and neuron.norm.carried else ""
    return f"leak {_range(neuron.leak)}, fires on {measured} {sign} {_range(neuron.threshold)}{where}, {reset}{carried}"


def _range(t: Tensor) -> str:
    low, high = t.min().item(), t.max().item()
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"


def _parameters(source: Source) -> int:
    if source.module is not None:
        return sum(p.numel() for p in source.module.parameters())
    return sum(t.numel() for t in tensors(source.program.graph).values())
