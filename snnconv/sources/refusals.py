"""What stands against a network, and which of it is told."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from snnconv import identify
from snnconv.capture import NO_NEURON
from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import Origin
from snnconv.sources.calling.random_numbers import DRAWS
from snnconv.sources.network import LoopRefused, Network

_TAUGHT = "teach it in the file of the factory: from snnconv.adapters import adapter"
_A_LAYER_EACH = "make each neuron that is written out in its forward a layer of its own, which the forward calls"
_NEURONS = "use a neuron with a threshold, a leak and a reset, such as snnconv.nn.LIF"


class UnknownLayers(Refused):
    """Layers that keep a state and have no adapter.

    Attributes:
        module: the network, from `origin`.
        known: the neurons of those layers that have an adapter, by path.
        unknown: the class of each layer that has none, by path.
    """

    def __init__(
        self,
        module: nn.Module,
        known: dict[str, Neuron],
        unknown: dict[str, str],
        origin: Origin,
        facts: Mapping[str, str],
        why: Refused,
    ) -> None:
        first, kind = next(iter(unknown.items()))
        fact = f": it {facts[first]}" if first in facts else ""
        others = f"; so do {len(unknown) - 1} more layers" if len(unknown) > 1 else ""
        because = "" if why.what == NO_NEURON[0] else f"; it cannot be taken as it is, because {why.what}"
        super().__init__(
            f"{first or 'the network'} ({kind}) keeps a state from step to step, and no adapter knows it{fact}{others}{because}",
            _TAUGHT if first else why.todo if known or because else _A_LAYER_EACH,
        )
        self.module, self.known, self.unknown, self.origin = module, known, unknown, origin


def most_telling(
    network: Network, unknown: dict[str, str], identified: identify.Found, refused: Refused, written_out: Refused | None
) -> Refused:
    """The most telling of what stands against a network: as it is (`refused`), or with the neurons that are written out in its
    forward. `unknown` are the classes of the layers that keep a state and have no adapter, by path."""
    if refused.what.startswith(DRAWS):
        return refused
    named = refused.what == NO_NEURON[0] and identified.facts
    if isinstance(written_out, LoopRefused) and not named:
        return written_out
    if unknown:
        inside = [f"{path}." for path in unknown if path]
        known = {path: neuron for path, neuron in network.neurons.items() if not any(map(path.startswith, inside))}
        why = refused if network.neurons or written_out is None else written_out
        return UnknownLayers(network.module, known, unknown, network.origin, identified.facts, why)
    if named:
        path, fact = next(iter(identified.facts.items()))
        kind = type(network.module.get_submodule(path)).__name__
        return Refused(f"{path} ({kind}) is no neuron that snnconv knows: it {fact}", _NEURONS)
    if refused.what == NO_NEURON[0] and written_out is None:
        told = identify.why_no_step(network.module, network.contract)
        return refused if told is None else Refused(*told)
    return written_out if written_out is not None and refused.what == NO_NEURON[0] else refused
