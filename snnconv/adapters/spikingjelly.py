"""Neurons of spikingjelly 2.x.

With `q = 1 / tau` and the resting potential `r`, which is `v_reset` (0 if that is None), and starting from `v = r`,

    h = v + x                        IFNode
    h = v - q * (v - r) + x          LIFNode, ParametricLIFNode, MPBNLIFNode with decay_input=False
    h = v + q * (x - (v - r))        the same with decay_input=True
    s = [h >= v_threshold]           v = r where s = 1, else h; or, with v_reset None, v = h - v_threshold * s

An `MPBNLIFNode` replaces h by BN(h) before it fires. After its own re-parameterisation it fires on h itself, with a threshold per
channel and no norm; with `normalize_residual`, the potentials that did not fire are still normalised.

The state carried here is `m = v - r` after the leak, so that every sample starts from 0; r is the offset of the potential.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import base, functional, layer, neuron
from torch import Tensor, nn

from snnconv.adapters import adapter, multi_step, network_reset, reset_with_network, strictness
from snnconv.adapters.one_step import layer_of_the_step, step_layer, without_time_axis
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
def takes_all_steps(layer: nn.Module) -> bool:
    """Whether a layer is in step mode "m", or has no other."""
    return isinstance(layer, base.MultiStepModule) or getattr(layer, "step_mode", "s") == "m"


@network_reset
def reset(module: nn.Module) -> None:
    """Make every layer of spikingjelly in a network forget its state."""
    for inner in module.modules():
        if isinstance(inner, _OneStepOfReadOut):
            inner.v = 0.0
    if any(isinstance(inner, base.MemoryModule) for inner in module.modules()):
        functional.reset_net(module)


@step_layer(base.StepModule)
def stateless(module: Any, timesteps: int) -> None:
    """A layer without a state, which computes every step from that step alone: its single-step mode."""
    own = type(module).__module__.startswith("spikingjelly.")
    if own and module.step_mode == "m" and "s" in module.supported_step_mode():
        # The layer itself still says "m", because the network around it may ask.
        single = copy.copy(module)
        single.step_mode = "s"
        without_time_axis(module, single.forward)


@step_layer(layer.SeqToANNContainer, layer.MultiStepContainer)
def container(layers: Any, timesteps: int) -> None:
    """A sequence of single-step layers, which the container applies to every step."""
    without_time_axis(layers, partial(nn.Sequential.forward, layers))


@step_layer(*THRESHOLD_DEPENDENT)
def threshold_dependent(norm: Any, timesteps: int) -> None:
    """tdBN: at inference a batch norm, whose weight holds the factor."""
    without_time_axis(norm, norm.super_forward)


@step_layer(*TEMPORAL_EFFECTIVE)
def temporal_effective(norm: Any, timesteps: int) -> None:
    """TEBN: a batch norm of all steps, followed by a scale that holds an entry for each; it takes a single step as it is."""
    ensure_steps(_named(norm), len(norm.scale), timesteps)


@step_layer(*THROUGH_TIME)
def through_time(norm: Any, timesteps: int) -> None:
    """BNTT: a batch norm per time step."""
    ensure_steps(_named(norm), norm.T, timesteps)
    forward = partial(layer_of_the_step, norm.bn_list)
    if norm.step_mode == "m":
        without_time_axis(norm, forward)
    else:
        norm.forward = forward


def _voltage(layer: Any, u: Tensor, s: Tensor) -> dict[str, Tensor | None]:
    """v after a step, reset already, and the sequence of it if the layer keeps one of all steps at once."""
    after_spike = u - layer.v_threshold if layer.v_reset is None else layer.v_reset
    v = u if layer.v_threshold == math.inf else (1 - s) * u + s * after_spike
    return {"v": v, "v_seq": v.unsqueeze(0)} if layer.store_v_seq and layer.step_mode == "m" else {"v": v}


class _OneStepOfReadOut(neuron.NonSpikingBaseNode):
    """A layer that never fires, called with one step, `[1, B, ...]`: it keeps its potential, which it else starts anew."""

    v: Any

    def forward(self, x_seq: Tensor) -> Tensor | list[Tensor]:
        """The potential after this step, as all steps are decoded."""
        self.neuronal_charge(x_seq[0])
        return _potential(self, self.v)


@step_layer(neuron.NonSpikingIFNode, neuron.NonSpikingLIFNode)
def read_out(node: Any, timesteps: int) -> None:
    """A layer that never fires: its potential goes on from call to call."""
    node.__class__ = type(type(node).__name__, (_OneStepOfReadOut, type(node)), {})
    node.v = 0.0


@adapter(neuron.IFNode, reset=reset_with_network, shows=_voltage)
def integrate_and_fire(layer: neuron.IFNode) -> Neuron:
    """The canonical neuron of an `IFNode`."""
    return _neuron(layer, _double(0.0), decay_input=False)


@adapter(neuron.LIFNode, reset=reset_with_network, shows=_voltage)
def leaky(layer: neuron.LIFNode) -> Neuron:
    """The canonical neuron of a `LIFNode`."""
    return _neuron(layer, 1 / _double(layer.tau), layer.decay_input)


@adapter(neuron.ParametricLIFNode, reset=reset_with_network, shows=_voltage)
def parametric(layer: neuron.ParametricLIFNode) -> Neuron:
    """The canonical neuron of a `ParametricLIFNode`, with the leak it has learned."""
    return _neuron(layer, _double(layer.w.sigmoid()), layer.decay_input)


@adapter(neuron.MPBNLIFNode, reset=reset_with_network)
def normalised(layer: neuron.MPBNLIFNode) -> Neuron:
    """The canonical neuron of an `MPBNLIFNode`. Raises `Refused` if the layer does what no canonical neuron does."""
    decay = 1 / _double(layer.tau)
    if layer.fold_bn:
        return _re_parameterised(layer, decay)
    threshold = _per_channel(layer.a.exp()) if layer.learnable_vth else _double(layer.v_threshold)
    norm = None
    if not isinstance(layer.vbn, nn.Identity):
        vbn = layer.vbn
        norm = MembraneNorm(vbn.running_mean, vbn.running_var, vbn.weight, vbn.bias, vbn.eps, carried=True)
    return _neuron(layer, decay, layer.decay_input, threshold, norm)


def _potential(layer: Any, u: Tensor) -> Tensor | list[Tensor]:
    """What a layer gives that never fires: its potential, decoded over one step."""
    return u if layer.decode else [u]


def _show_potential(layer: Any, u: Tensor, s: Tensor) -> dict[str, Tensor | None]:
    return {"v": u}


@adapter(neuron.NonSpikingIFNode, reset=reset_with_network, shows=_show_potential, gives=_potential)
def integrating(layer: neuron.NonSpikingIFNode) -> Neuron:
    """The canonical neuron of a `NonSpikingIFNode`. Raises `Refused` if it decodes to the largest absolute value."""
    return _silent(layer, _double(1.0), None)


@adapter(neuron.NonSpikingLIFNode, reset=reset_with_network, shows=_show_potential, gives=_potential)
def leaky_integrating(layer: neuron.NonSpikingLIFNode) -> Neuron:
    """The canonical neuron of a `NonSpikingLIFNode`. Raises `Refused` if it decodes to the largest absolute value."""
    decay = 1 / _double(layer.tau)
    return _silent(layer, 1 - decay, decay)


def _silent(layer: neuron.NonSpikingBaseNode, leak: Tensor, gain: Tensor | None) -> Neuron:
    if layer.decode == "max-abs-mem":
        raise Refused(
            f"{_named(layer)} gives the largest of all steps by absolute value (decode='{layer.decode}'), which no read-out is",
            "use decode='max-mem', 'mean-mem', 'last_mem' or None",
        )
    return Neuron(_double(0.0), leak, _double(0.0), gain=gain).silenced()


@adapter(neuron.CUBALIFNode, reset=reset_with_network, shows=_voltage)
def current_based(layer: neuron.CUBALIFNode) -> Neuron:
    """The canonical neuron of a `CUBALIFNode`: `c = c_decay * c + x`, `h = v_decay * v + c`. Raises `Refused`."""
    leak = _double(layer.v_decay)
    if layer.v_reset:
        raise Refused(f"spikingjelly.CUBALIFNode starts from v_reset={layer.v_reset:g}, not from 0", "use v_reset=0.0 or None")
    soft = layer.v_reset is None
    if soft:
        _ensure_number(layer, _double(layer.v_threshold))
    amount = leak * _double(layer.v_threshold) if soft else _double(0.0)
    strict, fires = _strict(layer), _double(layer.v_threshold)
    return Neuron(fires, leak, amount, soft=soft, strict=strict, synaptic_decay=_double(layer.c_decay))


def _re_parameterised(layer: neuron.MPBNLIFNode, decay: Tensor) -> Neuron:
    """An `MPBNLIFNode` whose norm is in its threshold; the threshold is computed by the layer's own formula."""
    deviation = torch.sqrt(layer.sigma2 + layer.eps)
    threshold = (layer.v_threshold - layer.beta) * deviation / layer.gamma + layer.mu
    plain = _neuron(layer, decay, layer.decay_input, _per_channel(threshold))
    if not layer.normalize_residual:
        return plain
    if plain.soft:
        raise Refused(
            "spikingjelly.MPBNLIFNode with normalize_residual and a soft reset normalises what is silent and not what fired",
            "re-parameterise it with normalize_residual=False, or convert it before it is re-parameterised",
        )
    scale = _per_channel(layer.gamma) / _per_channel(deviation)
    added = _per_channel(layer.beta) - scale * _per_channel(layer.mu)
    rest = _double(layer.v_reset)
    leak = 1 - decay
    return _shifted(plain.threshold, leak * scale, leak * (added - rest), rest, plain.gain, plain.strict)


def _neuron(
    layer: neuron.BaseNode, decay: Tensor, decay_input: bool, threshold: Tensor | None = None, norm: MembraneNorm | None = None
) -> Neuron:
    """The neuron that loses the share `decay` of its distance to the resting potential at every step.

    `threshold` and `norm` take the place of the layer's own, if they are given.
    """
    strict = _strict(layer)
    fires = _double(layer.v_threshold) if threshold is None else threshold
    leak, gain = 1 - decay, decay if decay_input else None
    if layer.v_reset is None:
        _ensure_number(layer, fires)
        return Neuron(
            threshold=fires, leak=leak, reset=leak * _double(layer.v_threshold), soft=True, strict=strict, gain=gain, norm=norm
        )
    rest = _double(layer.v_reset)
    return _shifted(fires, leak, -leak * rest, rest, gain, strict, norm)


def _ensure_number(layer: neuron.BaseNode, threshold: Tensor) -> None:
    if bool(threshold.isinf().any()):
        raise Refused(
            f"{_named(layer)} with v_reset=None subtracts its infinite threshold times 0: its own potential is NaN",
            "use v_reset=0.0, or a large threshold",
        )


def _shifted(
    threshold: Tensor,
    leak: Tensor,
    shift: Tensor,
    rest: Tensor,
    gain: Tensor | None,
    strict: bool,
    norm: MembraneNorm | None = None,
) -> Neuron:
    """The neuron with a hard reset to its resting potential `rest`; its state is the distance to `rest`, so it resets to 0."""
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


def _named(layer: nn.Module) -> str:
    return f"spikingjelly.{type(layer).__name__}"


def _per_channel(values: Tensor) -> Tensor:
    """`[C]` as `[C, 1, 1]`, against `[C, H, W]`; `fitted` drops the trailing dimensions for a potential `[C]`."""
    return _double(values).view(-1, 1, 1)


def _double(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).detach()
