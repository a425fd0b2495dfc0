"""Neurons of snntorch 1.x, with `init_hidden=True`: the layer keeps its membrane and gives spikes alone.

`Leaky` resets one step late: it fires on `mem > threshold` and takes the reset out of the next step's potential,

    mem = clamp(beta) * mem + x - threshold * [mem > threshold]        reset_mechanism="subtract"
    mem = clamp(beta) * mem * (1 - [mem > threshold]) + x              reset_mechanism="zero"

so a soft reset subtracts the whole threshold, untouched by the leak.
"""

from __future__ import annotations

import snntorch
import torch
from torch import Tensor

from snnconv.adapters import adapter
from snnconv.errors import Refused
from snnconv.neuron import Neuron


@adapter(snntorch.Leaky, reset=snntorch.Leaky.reset_mem)
def leaky(layer: snntorch.Leaky) -> Neuron:
    """The canonical neuron of a `Leaky`. Raises `Refused` for what no canonical neuron does."""
    _ensure_plain(layer)
    mechanism = _mechanism(layer)
    soft = mechanism == "subtract"
    leak, threshold = (_constant(value) for value in (layer.beta.clamp(0, 1), layer.threshold))
    if not layer.reset_delay and (soft or bool((threshold < 0).any())):
        raise Refused(
            "snntorch.Leaky with reset_delay=False resets twice where the membrane is above the threshold after a reset",
            "use reset_delay=True, or reset_mechanism='zero' with thresholds of at least 0",
        )
    return Neuron(threshold=threshold, leak=leak, reset=threshold if soft else torch.zeros(()), soft=soft)


def _ensure_plain(layer: snntorch.Leaky) -> None:
    reasons = {
        "keeps its membrane outside of the layer: build it with init_hidden=True": not layer.init_hidden,
        "also returns its membrane: build it with output=False": bool(layer.output),
        "lets only one neuron of a layer fire (inhibition)": bool(layer.inhibition),
        "quantises its membrane (state_quant)": bool(layer.state_quant),
        "scales its spikes (graded_spikes_factor)": bool((layer.graded_spikes_factor != 1).any()),
    }
    for reason, holds in reasons.items():
        if holds:
            raise Refused(f"snntorch.Leaky {reason}")


def _mechanism(layer: snntorch.Leaky) -> str:
    held = list(layer.reset_dict)[int(layer.reset_mechanism_val)]
    if held != layer.reset_mechanism:
        raise Refused(
            f"snntorch.Leaky was built with reset_mechanism='{layer.reset_mechanism}', but the checkpoint says '{held}'",
            "build it in the factory as it was trained",
        )
    if held == "none":
        raise Refused("snntorch.Leaky without a reset is not supported yet")
    return held


def _constant(value: Tensor) -> Tensor:
    """A scalar where it is one number; snntorch holds some as `[1]`."""
    value = value.detach().to(torch.float32)
    return value.reshape(()) if value.numel() == 1 else value
