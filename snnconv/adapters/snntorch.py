"""Neurons of snntorch 1.x, whether a layer keeps its membrane (`init_hidden=True`) or is handed it and returns it.

`Leaky` resets one step late: it fires on `mem > threshold` and subtracts the reset from the potential of the next step,

    mem = clamp(beta) * mem + x - threshold * [mem > threshold]        reset_mechanism="subtract"
    mem = clamp(beta) * mem * (1 - [mem > threshold]) + x              reset_mechanism="zero"
    mem = clamp(beta) * mem + x                                        reset_mechanism="none"

so a soft reset subtracts the whole threshold, untouched by the leak. `Synaptic` does the same with a synaptic current,
`syn = clamp(alpha) * syn + x`, in the place of x; its delayed reset to zero also loses the current of that step, and is refused.
`RLeaky` and `RSynaptic` are these with `x + recurrent(spk)` in the place of x, spk being the spikes of the step before: a linear
layer, a convolution, or a weight of each neuron's own. Both refuse the delayed reset to zero.
`Lapicque` integrates by constants of its own, `mem = (1 - dt / (R * C)) * mem + dt / C * x`; its reset to zero is refused too.
`Alpha` filters x with two exponentials, `mem = tau * (syn_exc + syn_inh)`, and fires on it; its delayed resets change those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import snntorch
import torch
from snntorch._neurons import SpikingNeuron
from torch import Tensor, nn

from snnconv.adapters import adapter, kept_apart, on_checkpoint_loaded, strictness
from snnconv.adapters.registration import CONSTANTS_ADDED
from snnconv.capture import Feedback, Filter
from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron

_FEEDBACK = Feedback(operator="recurrent", kept="spk")
CONSTANTS_ADDED[SpikingNeuron] = ("graded_spikes_factor", "reset_mechanism_val")


@kept_apart
@contextmanager
def _no_instances() -> Iterator[None]:
    """`snntorch.utils.reset` resets every neuron that was ever made: while one is traced, others would get its tensors."""
    instances, SpikingNeuron.instances = SpikingNeuron.instances, []
    try:
        yield
    finally:
        SpikingNeuron.instances = instances


def _states(layer: Any) -> int:
    return 0 if layer.init_hidden and not layer.output else 1


def _membrane(layer: Any, u: Tensor, s: Tensor) -> Tensor:
    """What `mem` is after a step: with a delayed reset the potential that fired, as it was."""
    return u if layer.reset_delay or layer.reset_mechanism == "none" else u * (1 - s)


def _ensure_finite(layer: Any, soft: bool, threshold: Tensor) -> None:
    if soft and bool(threshold.isinf().any()) and layer.reset_mechanism == "subtract":
        raise Refused(
            f"snntorch.{type(layer).__name__} subtracts its infinite threshold times 0, which is NaN in its own output",
            "use reset_mechanism='none'",
        )


@adapter(
    snntorch.Leaky,
    reset=snntorch.Leaky.reset_mem,
    states=_states,
    shows=lambda layer, u, s: {"mem": _membrane(layer, u, s)},
)
def leaky(layer: Any) -> Neuron:
    """The canonical neuron of a `Leaky`. Raises `Refused` if the layer does what no canonical neuron does."""
    _ensure_plain(layer)
    mechanism = layer.reset_mechanism
    soft = mechanism != "zero"
    leak, threshold = (_constant(value) for value in (layer.beta.clamp(0, 1), layer.threshold))
    name = f"snntorch.{type(layer).__name__}"
    if mechanism != "none" and not layer.reset_delay and (soft or bool((threshold < 0).any())):
        raise Refused(
            f"{name} with reset_delay=False resets twice where the membrane is above the threshold after a reset",
            "use reset_delay=True, or reset_mechanism='zero' with thresholds of at least 0",
        )
    _ensure_finite(layer, soft, threshold)
    amount = threshold if mechanism == "subtract" else torch.zeros(())
    return Neuron(threshold, leak, amount, soft=soft, strict=strictness(layer.spike_grad, name))


def _ensure_current_kept(layer: Any) -> None:
    if layer.reset_mechanism == "zero" and layer.reset_delay:
        raise Refused(
            f"snntorch.{type(layer).__name__} with a delayed reset to zero loses what arrives at that step",
            "use reset_mechanism='subtract'" + ("" if isinstance(layer, snntorch.RSynaptic) else ", or reset_delay=False"),
        )


def _ensure_plain(layer: Any) -> None:
    reasons = {
        "lets only one neuron of a layer fire (inhibition)": bool(layer.inhibition),
        "quantises its membrane (state_quant)": bool(layer.state_quant),
        "scales its spikes (graded_spikes_factor)": bool((layer.graded_spikes_factor != 1).any()),
    }
    for reason, holds in reasons.items():
        if holds:
            raise Refused(f"snntorch.{type(layer).__name__} {reason}")


@adapter(
    snntorch.Synaptic,
    reset=snntorch.Synaptic.reset_mem,
    states=lambda layer: 2 * _states(layer),
    shows=lambda layer, u, s: {"syn": None, "mem": _membrane(layer, u, s)},
)
def synaptic(layer: Any) -> Neuron:
    """The canonical neuron of a `Synaptic`. Raises `Refused` if the layer does what no canonical neuron does."""
    _ensure_current_kept(layer)
    return replace(leaky(layer), synaptic_decay=_constant(layer.alpha.clamp(0, 1)))


@adapter(
    snntorch.RLeaky,
    reset=snntorch.RLeaky.reset_mem,
    states=_states,
    shows=lambda layer, u, s: {"mem": _membrane(layer, u, s), "spk": s},
    dendrite=_FEEDBACK,
)
def r_leaky(layer: snntorch.RLeaky) -> Neuron:
    """The canonical neuron of an `RLeaky`, which is that of a `Leaky` with what is fed back in its current.

    Raises `Refused` if the layer does what no canonical neuron does.
    """
    _ensure_current_kept(layer)
    return leaky(layer)


@adapter(
    snntorch.RSynaptic,
    reset=snntorch.RSynaptic.reset_mem,
    states=lambda layer: 2 * _states(layer),
    shows=lambda layer, u, s: {"syn": None, "mem": _membrane(layer, u, s), "spk": s},
    dendrite=_FEEDBACK,
)
def r_synaptic(layer: snntorch.RSynaptic) -> Neuron:
    """The canonical neuron of an `RSynaptic`, which is that of a `Synaptic` with what is fed back in its current.

    Raises `Refused` if the layer does what no canonical neuron does.
    """
    if not layer.reset_delay:
        raise Refused(
            "snntorch.RSynaptic with reset_delay=False resets by the spikes that it is handed, not by those that it fires",
            "use reset_delay=True, and reset_mechanism='subtract' or 'none'",
        )
    return synaptic(layer)


@adapter(
    snntorch.Lapicque,
    reset=snntorch.Lapicque.reset_mem,
    states=_states,
    shows=lambda layer, u, s: {"mem": u},
)
def lapicque(layer: snntorch.Lapicque) -> Neuron:
    """The canonical neuron of a `Lapicque`: `mem = (1 - dt / (R * C)) * mem + dt / C * x`. Raises `Refused` if there is none."""
    if layer.reset_mechanism == "zero":
        raise Refused(
            "snntorch.Lapicque with a reset to zero loses what arrives at that step", "use reset_mechanism='subtract' or 'none'"
        )
    _ensure_plain(layer)
    resistance, capacity, step = (_constant(value) for value in (layer.R, layer.C, layer.time_step))
    threshold, name = _constant(layer.threshold), f"snntorch.{type(layer).__name__}"
    _ensure_finite(layer, True, threshold)
    amount = threshold if layer.reset_mechanism == "subtract" else torch.zeros(())
    gain = resistance * (1 / (resistance * capacity)) * step
    leak = 1 - step / (resistance * capacity)
    return Neuron(threshold, leak, amount, soft=True, strict=strictness(layer.spike_grad, name), gain=gain)


def _alpha_current(layer: snntorch.Alpha, x: Tensor, spikes: Tensor, exc: Tensor, inh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The membrane of an `Alpha`, a sum of two currents, and these currents, for those of the step before and its spikes."""
    alpha, beta = layer.alpha.clamp(0, 1), layer.beta.clamp(0, 1)
    tau = alpha.log() / (beta.log() - alpha.log()) + 1
    excitatory, inhibitory = alpha * exc + x, beta * inh - x
    if layer.reset_mechanism == "subtract":
        membrane = tau * (excitatory + inhibitory) + inh * spikes
        return membrane, excitatory - layer.threshold * spikes, inhibitory * (1 - spikes)
    if layer.reset_mechanism == "zero":
        excitatory, inhibitory = excitatory * (1 - spikes), inhibitory * (1 - spikes)
    return tau * (excitatory + inhibitory), excitatory, inhibitory


@adapter(
    snntorch.Alpha,
    reset=snntorch.Alpha.reset_mem,
    states=lambda layer: 3 * _states(layer),
    shows=lambda layer, u, s: {"syn_exc": None, "syn_inh": None, "mem": u},
    dendrite=Filter(("exc", "inh"), _alpha_current, potential="mem"),
)
def alpha(layer: snntorch.Alpha) -> Neuron:
    """The neuron without a memory that fires on the membrane of an `Alpha`, which is a filtered current.

    Raises `Refused` if the layer does what no canonical neuron does.
    """
    _ensure_plain(layer)
    nothing, threshold = torch.zeros((), dtype=torch.float64), _constant(layer.threshold)
    _ensure_finite(layer, True, threshold)
    return Neuron(threshold, nothing, nothing, soft=False, strict=strictness(layer.spike_grad, "snntorch.Alpha"))


@on_checkpoint_loaded
def follow_checkpoint(path: str, layer: nn.Module, before: Mapping[str, Tensor]) -> list[str]:
    """Notes on the constants in which a checkpoint differs from the factory.

    The reset mechanism is switched to that of the checkpoint here, because snntorch loads its number but keeps resetting as
    before.
    """
    notes: list[str] = []
    if not isinstance(layer, snntorch.Leaky | snntorch.Synaptic | snntorch.RLeaky | snntorch.RSynaptic | snntorch.Alpha):
        return notes
    for name in ("threshold", "beta", "alpha", "V"):
        was, now = before.get(name), layer._buffers.get(name)
        if was is not None and now is not None and not torch.equal(was, now):
            notes.append(f"{path}.{name} is {_shown(was)} in the factory and {_shown(now)} in the checkpoint, which holds")
    built, loaded = layer.reset_mechanism, list(layer.reset_dict)[int(layer.reset_mechanism_val)]
    if built != loaded:
        layer.reset_mechanism = loaded
        layer.state_function = {"subtract": layer._base_sub, "zero": layer._base_zero, "none": layer._base_int}[loaded]
        notes.append(f"{path}.reset_mechanism is '{built}' in the factory and '{loaded}' in the checkpoint, which holds")
    return notes


def _shown(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"of {value.numel()} values"


def _constant(value: Tensor) -> Tensor:
    """A constant in float64, as a scalar if it is one number: snntorch holds some of them as `[1]`."""
    value = value.detach().double()
    return value.reshape(()) if value.numel() == 1 else value
