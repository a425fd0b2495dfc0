"""Neurons of spikingjelly 2.x.

With `q = 1 / tau` and the resting potential `r`, which is `v_reset` (0 where that is None), and starting from `v = r`,

    h = v + x                        IFNode
    h = v - q * (v - r) + x          LIFNode, ParametricLIFNode, MPBNLIFNode with decay_input=False
    h = v + q * (x - (v - r))        the same with decay_input=True
    s = [h >= v_threshold]           v = r where s, h elsewhere; or, with v_reset None, v = h - v_threshold * s

An `MPBNLIFNode` puts BN(h) in the place of h before it fires. After its own re-parameterisation it fires on h itself, on a
threshold per channel, and the norm is gone, except that with `normalize_residual` the potentials that stay silent are normalised.

What is carried here is `m = v - r` after the leak, so that every sample starts from 0; r is the offset of the potential.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import base, functional, layer, neuron
from torch import Tensor, nn

from snnconv.adapters import adapter, forgotten, resets, strictness
from snnconv.adapters.step_form import batch_norm_through_time, in_frames, multi_step, step_layer
from snnconv.errors import Refused
from snnconv.ir.neuron import MembraneNorm, Neuron
from snnconv.ir.per_step import ensure_steps

THRESHOLD_DEPENDENT = (
    layer.ThresholdDependentBatchNorm1d,
    layer.ThresholdDependentBatchNorm2d,
    layer.ThresholdDependentBatchNorm3d,
)
TEMPORAL_EFFECTIVE = (
    layer.TemporalEffectiveBatchNorm1d,
    layer.TemporalEffectiveBatchNorm2d,
    layer.TemporalEffectiveBatchNorm3d,
)
THROUGH_TIME = (layer.BatchNormThroughTime1d, layer.BatchNormThroughTime2d, layer.BatchNormThroughTime3d)


@multi_step
def takes_all_steps(found: nn.Module) -> bool:
    """A layer in step mode "m", or of a kind that has no other."""
    return isinstance(found, base.MultiStepModule) or getattr(found, "step_mode", "s") == "m"


@resets
def reset(module: nn.Module) -> None:
    """Forget every state as spikingjelly does."""
    if any(isinstance(layer, base.MemoryModule) for layer in module.modules()):
        functional.reset_net(module)


@step_layer(base.StepModule)
def stateless(found: Any, timesteps: int) -> None:
    """A layer that computes every step by itself."""
    own = type(found).__module__.startswith("spikingjelly.")
    if own and found.step_mode == "m" and "s" in found.supported_step_mode():
        # The layer itself still says "m": the network around it may ask.
        single = copy.copy(found)
        single.step_mode = "s"
        in_frames(found, single.forward)


@step_layer(layer.SeqToANNContainer, layer.MultiStepContainer)
def container(found: Any, timesteps: int) -> None:
    """A sequence of layers of one step."""
    in_frames(found, partial(nn.Sequential.forward, found))


@step_layer(*THRESHOLD_DEPENDENT)
def threshold_dependent(found: Any, timesteps: int) -> None:
    """tdBN, at inference a batch norm: what its factor was initialised to is in the weight."""
    in_frames(found, found.super_forward)


@step_layer(*TEMPORAL_EFFECTIVE)
def temporal_effective(found: Any, timesteps: int) -> None:
    """TEBN: a batch norm, and a scale that belongs to the step."""
    ensure_steps(_named(found), len(found.scale), timesteps)
    in_frames(found, partial(_scaled, found))


def _scaled(found: Any, x: Tensor) -> Tensor:
    return found.super_forward(x) * torch.ops.snnconv.at_step(found.scale)


@step_layer(*THROUGH_TIME)
def through_time(found: Any, timesteps: int) -> None:
    """BNTT: a batch norm for each step."""
    ensure_steps(_named(found), found.T, timesteps)
    forward = partial(batch_norm_through_time, found.bn_list)
    if found.step_mode == "m":
        in_frames(found, forward)
    else:
        found.forward = forward


@adapter(neuron.IFNode, reset=forgotten)
def integrate_and_fire(layer: neuron.IFNode) -> Neuron:
    """The canonical neuron of an `IFNode`."""
    return _neuron(layer, _double(0.0), decay_input=False)


@adapter(neuron.LIFNode, reset=forgotten)
def leaky(layer: neuron.LIFNode) -> Neuron:
    """The canonical neuron of a `LIFNode`."""
    return _neuron(layer, 1 / _double(layer.tau), layer.decay_input)


@adapter(neuron.ParametricLIFNode, reset=forgotten)
def parametric(layer: neuron.ParametricLIFNode) -> Neuron:
    """The canonical neuron of a `ParametricLIFNode`, with the leak it has learned."""
    return _neuron(layer, _double(layer.w.sigmoid()), layer.decay_input)


@adapter(neuron.MPBNLIFNode, reset=forgotten)
def normalised(layer: neuron.MPBNLIFNode) -> Neuron:
    """The canonical neuron of an `MPBNLIFNode`. Raises `Refused` for what no canonical neuron does."""
    decay = 1 / _double(layer.tau)
    if layer.fold_bn:
        return _re_parameterised(layer, decay)
    threshold = _per_channel(layer.a.exp()) if layer.learnable_vth else _double(layer.v_threshold)
    norm = None
    if not isinstance(layer.vbn, nn.Identity):
        held = layer.vbn
        norm = MembraneNorm(held.running_mean, held.running_var, held.weight, held.bias, held.eps, carried=True)
    return _neuron(layer, decay, layer.decay_input, threshold, norm)


@adapter(neuron.CUBALIFNode, reset=forgotten)
def current_based(layer: neuron.CUBALIFNode) -> Neuron:
    """The canonical neuron of a `CUBALIFNode`: `c = c_decay * c + x`, `h = v_decay * v + c`. Raises `Refused`."""
    leak = _double(layer.v_decay)
    if layer.v_reset:
        raise Refused(f"spikingjelly.CUBALIFNode starts from v_reset={layer.v_reset:g}, not from 0", "use v_reset=0.0 or None")
    soft = layer.v_reset is None
    amount = leak * _double(layer.v_threshold) if soft else _double(0.0)
    strict, fires = _strict(layer), _double(layer.v_threshold)
    return Neuron(fires, leak, amount, soft=soft, strict=strict, synaptic_decay=_double(layer.c_decay))


def _re_parameterised(layer: neuron.MPBNLIFNode, decay: Tensor) -> Neuron:
    """What is left of an `MPBNLIFNode` that has no norm any more: its formula for the threshold, as it computes it."""
    deviation = torch.sqrt(layer.sigma2 + layer.eps)
    threshold = (layer.v_threshold - layer.beta) * deviation / layer.gamma + layer.mu
    told = _neuron(layer, decay, layer.decay_input, _per_channel(threshold))
    if not layer.normalize_residual:
        return told
    if told.soft:
        raise Refused(
            "spikingjelly.MPBNLIFNode with normalize_residual and a soft reset normalises what is silent and not what fired",
            "re-parameterise it with normalize_residual=False, or convert it before it is re-parameterised",
        )
    scale = _per_channel(layer.gamma) / _per_channel(deviation)
    added = _per_channel(layer.beta) - scale * _per_channel(layer.mu)
    rest = _double(layer.v_reset)
    leak = 1 - decay
    return _shifted(told.threshold, leak * scale, leak * (added - rest), rest, told.gain, told.strict)


def _neuron(
    layer: neuron.BaseNode, decay: Tensor, decay_input: bool, threshold: Tensor | None = None, norm: MembraneNorm | None = None
) -> Neuron:
    """A neuron that loses the share `decay` of its distance to the resting potential at every step."""
    strict = _strict(layer)
    fires = _double(layer.v_threshold) if threshold is None else threshold
    leak, gain = 1 - decay, decay if decay_input else None
    if layer.v_reset is None:
        return Neuron(
            threshold=fires, leak=leak, reset=leak * _double(layer.v_threshold), soft=True, strict=strict, gain=gain, norm=norm
        )
    rest = _double(layer.v_reset)
    return _shifted(fires, leak, -leak * rest, rest, gain, strict, norm)


def _shifted(
    threshold: Tensor,
    leak: Tensor,
    shift: Tensor,
    rest: Tensor,
    gain: Tensor | None,
    strict: bool,
    norm: MembraneNorm | None = None,
) -> Neuron:
    """A neuron with a hard reset to its resting potential, in whose state that is 0."""
    return Neuron(
        threshold=threshold,
        leak=leak,
        reset=torch.zeros_like(rest),
        strict=strict,
        shift=shift if bool(shift.any()) else None,
        gain=gain,
        offset=rest if bool(rest) else None,
        norm=norm,
    )


def _strict(layer: neuron.BaseNode) -> bool:
    name = _named(layer)
    first, rest = layer.get_reset_value("v"), layer.v_reset or 0.0
    if not bool(torch.all(torch.as_tensor(first) == torch.as_tensor(rest))):
        raise Refused(
            f"{name} starts every sample from a potential of {first}, not of {rest:g}",
            "leave the reset value of v as the framework makes it, and set v_reset where the neuron is made",
        )
    if layer._neuron_precision is not None:
        raise Refused(f"{name} computes in another precision than the network", "take its precision setting away")
    return strictness(layer.surrogate_function, name)


def _named(found: nn.Module) -> str:
    return f"spikingjelly.{type(found).__name__}"


def _per_channel(values: Tensor) -> Tensor:
    """`[C]` laid out against `[C, H, W]`; after a linear layer the trailing dimensions go."""
    return _double(values).view(-1, 1, 1)


def _double(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).detach()
