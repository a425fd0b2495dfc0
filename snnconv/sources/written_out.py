"""A network whose neurons are written out in its own forward, with no layer of their own."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from snnconv import identify
from snnconv.capture import is_in_inference_form
from snnconv.errors import Refused
from snnconv.sources.calling import Forward
from snnconv.sources.network import Astray, LoopRefused, Network, NotCalled, neurons_of
from snnconv.sources.source import Source


def source_of_written_out(network: Network, forward: Forward | None) -> Source | Refused | None:
    """The source of a network whose neurons are written out in its forward, or what stands against it; None if it has none.

    `forward` is how it is called over time, if that is known.
    """
    first: Refused | None = None
    astray: Refused | None = None
    for comparisons in identify.comparisons_of_steps(network.module, network.contract):
        split = copy.deepcopy(network.module)
        identify.split_off(split, comparisons)
        try:
            source = replace(network, module=split, neurons=neurons_of(split, network.origin.arch)).source(forward)
        except NotCalled as refused:
            astray = astray or (refused if isinstance(refused, Astray) else None)
            continue
        except Refused as refused:
            if first is None or (isinstance(refused, LoopRefused) and not isinstance(first, LoopRefused)):
                first = refused
            continue
        if not is_in_inference_form(source.program):
            return source  # folding says what stands against it
        if source.program.memories:
            return replace(source, notes=(*source.notes, _note(network.module, len(comparisons), source)))
    return astray or first


def _note(module: nn.Module, count: int, source: Source) -> str:
    places = "one place" if count == 1 else f"{count} places"
    kept = identify.listed(list(source.program.memories))
    return (
        f"the network ({type(module).__name__}): taken as it is, firing at {places} of its forward where that compares, "
        f"what is kept from step to step being a state ({kept})"
    )
