"""What is inside a source: its neurons in words, its norms and what each folds into."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from snnconv.errors import SnnconvError
from snnconv.export import FORMATS, encode
from snnconv.fold import FoldRefused, fold
from snnconv.identify.pasting import adapters_to_paste
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.results import Inspection, NeuronView, output_layer
from snnconv.sources import Source, UnknownLayers
from snnconv.verify.rounding import Magnitudes


def inspect(source: Source) -> Inspection:
    """Look into a source; a norm that cannot be folded is listed, not raised."""
    program = source.program
    notes, formats = source.notes, {}
    try:
        folded = fold(program)
        sites = folded.sites
        notes += _measured(program)
        formats = {name: _refusal_of(folded, name) for name in FORMATS.names()}
    except FoldRefused as refusal:
        sites = refusal.sites
    return Inspection(
        arch=program.origin.arch,
        sha256=program.origin.sha256,
        reference=source.reference,
        settings=source.settings,
        parameters=_parameters(source),
        notes=notes,
        neurons=_views(program.neurons),
        sites=sites,
        operations=_operations(program),
        state_bytes=sum(torch.Size(n.state_shape).numel() * n.threshold.itemsize for n in program.neurons.values()),
        formats=formats,
        adapters={} if source.module is None else adapters_to_paste(source.module),
    )


def _refusal_of(folded: SpikingProgram, name: str) -> str:
    """In words, why a format cannot hold a folded program; empty if it can. It is exported to see that."""
    try:
        encode(folded, FORMATS[name])
    except SnnconvError as error:
        return str(error)
    return ""


def inspect_unknown(error: UnknownLayers) -> Inspection:
    """What can be said of a network that has layers which nobody taught."""
    origin, parameters = error.origin, sum(p.numel() for p in error.module.parameters())
    known = _views(error.known)
    return Inspection(
        origin.arch, origin.sha256, origin.reference, origin.settings, parameters, (), known, (), unknown=error.unknown
    )


def _views(neurons: dict[str, Neuron]) -> tuple[NeuronView, ...]:
    return tuple(NeuronView(name, "x".join(map(str, n.shape)), words(n)) for name, n in neurons.items())


def _operations(program: SpikingProgram) -> int:
    """Multiply-accumulates of one step on one sample, as torch counts them: half as many as floating point operations."""
    once = replace(program, contract=replace(program.contract, timesteps=1, event=False))
    with FlopCounterMode(display=False) as counter:
        once.run(torch.zeros(1, *program.contract.input_shape))
    return counter.get_total_flops() // 2


def _measured(program: SpikingProgram) -> tuple[str, ...]:
    """A note on the layers whose rounding bound will be measured."""
    magnitudes = Magnitudes(program)
    pairs = zip(program.contract.readouts, magnitudes.measured_outputs, strict=True)
    names = [*(output_layer(name) for name, measured in pairs if measured), *sorted(magnitudes.measured)]
    if not names:
        return ()
    listed = ", ".join(magnitudes.unruled)
    return (f"the rounding bound of {', '.join(names)} will be measured: no rule is known for {listed}",)


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
    synapse = "" if neuron.synaptic_decay is None else f"synaptic current decays by {_range(neuron.synaptic_decay)}, "
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
