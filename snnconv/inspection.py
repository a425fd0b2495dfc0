"""What is inside a source: its neurons in words, its norms and what each folds into."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import snnconv
from snnconv.fold import FoldRefused, fold
from snnconv.neuron import Neuron
from snnconv.program import SpikingProgram, tensors
from snnconv.report.document import SCHEMA
from snnconv.results import REFUSED, Site
from snnconv.sources import Source, UnknownLayers


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
    where a layer is unknown.
    """

    arch: str
    sha256: str
    parameters: int
    settings: dict[str, str]
    notes: tuple[str, ...]
    neurons: tuple[NeuronView, ...]
    sites: tuple[Site, ...]
    unknown: dict[str, str] = field(default_factory=dict)
    operations: int | None = None
    state_bytes: int | None = None

    @property
    def foldable(self) -> bool:
        return not self.unknown and not any(site.outcome == REFUSED for site in self.sites)

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
        neurons=_views(program.neurons),
        sites=sites,
        operations=_operations(program),
        state_bytes=sum(torch.Size(n.state_shape).numel() * n.threshold.itemsize for n in program.neurons.values()),
    )


def inspect_unknown(arch: str, error: UnknownLayers) -> Inspection:
    """What can be said of a network that has layers which nobody taught."""
    parameters = sum(p.numel() for p in error.module.parameters())
    return Inspection(arch, "", parameters, {}, (), _views(error.known), (), error.unknown)


def _views(neurons: dict[str, Neuron]) -> tuple[NeuronView, ...]:
    return tuple(NeuronView(name, "x".join(map(str, n.shape)), words(n)) for name, n in neurons.items())


def _operations(program: SpikingProgram) -> int:
    """Multiply-accumulates of one step on one sample, as torch counts them: half as many as floating point operations."""
    once = replace(program, contract=replace(program.contract, timesteps=1, event=False))
    with FlopCounterMode(display=False) as counter:
        once.run(torch.zeros(1, *program.contract.input_shape))
    return counter.get_total_flops() // 2


def words(neuron: Neuron) -> str:
    """`leak 0.25, fires on MPBN(u) > 0.5, hard reset to 0`."""
    sign = ">" if neuron.strict else ">="
    measured = "u" if neuron.norm is None else f"{neuron.norm.kind}(u)"
    where = "" if neuron.norm is None else " per element" if neuron.norm.mean.dim() > 1 else " per channel"
    # The carried amount has the leak applied; people think of the one before it.
    before = neuron.reset / neuron.leak if bool((neuron.leak != 0).all()) else neuron.reset
    amount = _range(before if neuron.offset is None or neuron.soft else before + neuron.offset)
    reset = f"soft reset by {amount}" if neuron.soft else f"hard reset to {amount}"
    reset = reset if neuron.resets else "no reset"
    carried = f", carries {measured}" if neuron.norm is not None and neuron.norm.carried else ""
    synapse = "" if neuron.synapse is None else f"synaptic current decays by {_range(neuron.synapse)}, "
    taken = "" if neuron.gain is None else f", takes {_range(neuron.gain)} of its current"
    fires = f"fires on {measured} {sign} {_range(neuron.threshold)}{where}"
    return f"{synapse}leak {_range(neuron.leak)}{taken}, {fires}, {reset}{carried}"


def _range(t: Tensor) -> str:
    low, high = t.min().item(), t.max().item()
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"


def _parameters(source: Source) -> int:
    if source.module is not None:
        return sum(p.numel() for p in source.module.parameters())
    return sum(t.numel() for t in tensors(source.program.graph).values())
