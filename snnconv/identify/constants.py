"""Which canonical neuron a layer is, from what it carries after some chosen currents.

In units of the input, so that its gain is 1 and its first potential is 0, a canonical neuron that was shown x carries

    p = L * x + B                     after a current that left it silent
    p = R                             after one that made it fire, under a hard reset
    p = L * x + B - S                 the same under a soft reset

and with a synaptic current, of which A is kept, A * x more. Huge currents give L (and A) to the last bit, small ones the rest.
After two currents, what is carried must be what these constants say; then they are the neuron's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from snnconv.identify.facts import NotCanonical
from snnconv.identify.probes import Carried, Fresh, Run, fresh
from snnconv.identify.simplest import simplest
from snnconv.ir import dynamics
from snnconv.ir.neuron import Neuron

_AGREE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""By what share of the values it comes from a carried value may differ from what the constants say."""
_SILENT_PAIRS = 4
"""Of the currents of two steps, so many are silent at both."""
_REST, _SILENT, _MORE_SILENT, _LEAST, _FIRED, _MORE_FIRED, _MOST = range(7)
"""The currents of the first step: 0 or nearly so, then below the threshold, and above it."""


def measure(run: Run, shape: tuple[int, ...], dtype: torch.dtype, steps: int) -> Neuron:
    """The canonical neuron that `run` is, computing in `dtype` on potentials of `shape`, with one constant per element.

    It fires strictly above (or below) its threshold, the last float that leaves it silent. At most `steps` steps, from 2 on, are
    looked at. Raises `NotCanonical` with the fact that stands against it.
    """
    layer = fresh(run, shape, dtype)
    first = _first_currents(layer)
    carried = layer.carried_after(first[None])
    decay, shift = _when_silent(layer, first, carried)
    neuron = _after_a_spike(layer, first, carried, decay, shift)
    if steps > 2:
        neuron = _over_two_steps(layer, first, carried, neuron)
    return neuron


def _first_currents(layer: Fresh) -> Tensor:
    """The currents of one step `[7, *shape]`, each on its side of the threshold."""
    unit, theta = layer.unit, layer.threshold
    huge = unit.sign() * torch.exp2(60 + unit.abs().log2().floor())
    rest = torch.where(theta * unit.sign() > 0, torch.zeros_like(theta), theta - unit / 2)
    return torch.stack([rest, theta - unit / 2, theta - 2 * unit, -huge, theta + unit / 2, theta + 3 * unit, huge])


def _when_silent(layer: Fresh, first: Tensor, carried: Carried) -> tuple[Tensor, Tensor]:
    """L and B, of what is carried after a current that left the layer silent, `[*shape]` each."""
    decay = _slope(first[_LEAST], carried[_LEAST].value)
    shift = simplest(carried[_REST].value - decay * first[_REST], carried[_REST].error)
    if not _agree(carried[_LEAST], decay * first[_LEAST]):
        raise NotCanonical("carries no fixed share of its potential")
    for i in (_SILENT, _MORE_SILENT):
        if not _agree(carried[i], decay * first[i] + shift):
            raise NotCanonical("carries no fixed share of its potential (a bound on it, or a curve)")
    return decay, shift


def _after_a_spike(layer: Fresh, first: Tensor, carried: Carried, decay: Tensor, shift: Tensor) -> Neuron:
    """The neuron without a synaptic current, or with one if what is carried after a spike can only be that."""
    fired, more, most = carried[_FIRED], carried[_MORE_FIRED], carried[_MOST]
    plain = Neuron(layer.cut.threshold, decay, torch.zeros_like(decay), inverted=layer.cut.inverted, shift=shift, shape=())
    if _agree(more, fired.value) and _agree(most, fired.value):
        return replace(plain, reset=simplest(fired.value, fired.error))
    kept = decay * first[_FIRED] + shift
    amount = simplest(kept - fired.value, fired.error + _eps(kept) * kept.abs())
    if _agree(more, decay * first[_MORE_FIRED] + shift - amount) and _agree(most, decay * first[_MOST]):
        return replace(plain, reset=amount, soft=True)
    synaptic = _slope(first[_MOST], most.value)
    reset = fired.value - synaptic * first[_FIRED]
    if not _agree(more, reset + synaptic * first[_MORE_FIRED]):
        raise NotCanonical("carries after a spike what is neither a hard nor a soft reset")
    leak = _simple_share(decay - synaptic)
    return replace(plain, leak=leak, synaptic_decay=synaptic, reset=simplest(reset, fired.error))


def _over_two_steps(layer: Fresh, first: Tensor, carried: Carried, neuron: Neuron) -> Neuron:
    """The neuron, if two steps are as it says; else the one with a synaptic current and a soft reset, if it says so."""
    history = _two_currents(layer, first, carried)
    after = layer.carried_after(history)
    if _says(neuron, history, after):
        return neuron
    if neuron.soft:
        other = _soft_synaptic(layer, first, carried, neuron)
        if _says(other, history, after):
            return other
    leaky = neuron
    if neuron.synaptic_decay is not None:
        leaky = replace(neuron, leak=neuron.leak + neuron.synaptic_decay, synaptic_decay=None)
    if not _says(leaky, history[:, :_SILENT_PAIRS], after[:_SILENT_PAIRS]):
        raise NotCanonical("carries more than one leaky potential")
    if neuron.synaptic_decay is not None:
        raise NotCanonical("keeps another share of its potential after a spike than without one")
    raise NotCanonical("keeps more after a spike than a reset leaves (an adaptive threshold, a refractory period?)")


def _two_currents(layer: Fresh, first: Tensor, carried: Carried) -> Tensor:
    """Currents of two steps `[2, 8, *shape]`: silent both times, or a spike at the first, the second or both."""
    starts = [_REST, _MORE_SILENT, _FIRED, _MORE_FIRED]
    half = layer.unit / 2
    silent, fired = ([carried[i].cut + sign * half for i in starts] for sign in (-1, 1))
    order = [0, 1]
    pairs = [(starts[i], silent[i]) for i in order] + [(starts[i], silent[i] - layer.unit) for i in order]
    pairs += [(starts[i], fired[i]) for i in order]
    pairs += [(starts[i], then[i]) for i in (2, 3) for then in (silent, fired)]
    return torch.stack([torch.stack([first[i], second]) for i, second in pairs], dim=1)


def _soft_synaptic(layer: Fresh, first: Tensor, carried: Carried, neuron: Neuron) -> Neuron:
    """The neuron with a synaptic current of which `neuron`, without one, describes one step: its leak is L + A.

    After x and then z, both silent, the layer carries (L**2 + L * A + A**2) * x + (L + A) * z and B's share; after a spike at
    the first step L * S less.
    """
    total, amount = neuron.leak, neuron.reset
    z = -4 * layer.unit.sign() * (carried.value[:_LEAST].abs().amax(0) + carried.value[_FIRED].abs() + layer.unit.abs())
    history = torch.stack([torch.stack([first[i], z]) for i in (_REST, _FIRED, _LEAST)], dim=1)
    rest, fired, least = layer.carried_after(history).value
    squares = _slope(first[_LEAST], least)
    missing = squares * (first[_FIRED] - first[_REST]) - (fired - rest)
    leak = _simple_share(missing / amount, 64)
    if not bool(amount.any()):  # nothing tells L and A apart, so either may be the leak
        leak = total / 2 + ((squares - 0.75 * total * total).clamp(min=0)).sqrt()
    return replace(neuron, leak=leak, synaptic_decay=_simple_share(total - leak, 64))


def _says(neuron: Neuron, history: Tensor, after: Carried) -> bool:
    """Whether the neuron carries after `history` what was measured."""
    k, state = neuron.constants(), None
    size = torch.zeros_like(after.value)
    for t, x in enumerate(history):
        u, _, state = neuron.step(x, state, t)
        size = torch.maximum(size, u.abs())
    m, i = dynamics.split_state(state, k)
    assert m is not None
    says = m if k.synaptic_decay is None or i is None else m + k.synaptic_decay * i
    return _agree(after, says, size)


def _agree(carried: Carried, value: Tensor, size: Tensor | float = 0.0) -> bool:
    """Whether the carried value is `value`, to a share of both, and of `size`; the error of the measurement is one of these."""
    measured = carried.value
    scale = measured.abs() + carried.error / _eps(measured) + size
    return bool(((measured - value).abs() <= _AGREE[measured.dtype] * scale + carried.error).all())


def _slope(x: Tensor, carried: Tensor) -> Tensor:
    """The share of a huge current that is carried."""
    share = carried / x
    return _simple_share(torch.where(share.abs() < 2.0**-30, torch.zeros_like(share), share))


def _simple_share(share: Tensor, roundings: int = 8) -> Tensor:
    return simplest(share, roundings * _eps(share) * share.abs().clamp(max=1.0))


def _eps(like: Tensor) -> float:
    return torch.finfo(like.dtype).eps
