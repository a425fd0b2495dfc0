"""The equations of a neuron without a membrane norm (see `snnconv.ir.neuron`), one function per phase: integrate, fire, reset.

They serve the reference, the training layers, the lowered torch graph and TorchScript, so they keep to what `torch.jit` accepts.
That is also why this file does not postpone its annotations: `torch.jit` cannot read those of a NamedTuple as strings.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class NeuronConstants(NamedTuple):
    """The constants of a neuron: every tensor, then the flags. A tensor that is None has no effect.

    Without a threshold it never fires. `inverted`, bool, flips the outcome of a comparison with `threshold` (see
    `Neuron.constants`); `reset` is R under a hard reset and S under a soft one. `gain` and `offset` may have one entry per step,
    `[T, 1, C, ...]`.
    """

    threshold: Tensor | None
    inverted: Tensor | None = None
    leak: Tensor | None = None
    shift: Tensor | None = None
    reset: Tensor | None = None
    gain: Tensor | None = None
    offset: Tensor | None = None
    synaptic_decay: Tensor | None = None
    strict: bool = True
    soft: bool = False


def at_step(constant: Tensor | None, t: int, dims: int) -> Tensor | None:
    """The entry for step `t` of a constant that has one per step, any other as it is; potentials have `dims` dimensions with the
    batch. Raises RuntimeError for a step beyond the last entry."""
    if constant is None or constant.dim() <= dims:
        return constant
    if t >= constant.shape[0]:
        raise RuntimeError(f"constants per step for {constant.shape[0]} time steps: there is no step {t + 1}")
    return constant.select(0, t)


def synaptic_current(x: Tensor, before: Tensor | None, k: NeuronConstants, t: int) -> Tensor:
    """`i = A * i + g * x + c` `[B, ...]` at step `t`, given the input `x` and i of the step before, None at the first."""
    i = x
    gain, offset, decay = at_step(k.gain, t, x.dim()), at_step(k.offset, t, x.dim()), k.synaptic_decay
    if gain is not None:
        i = i * gain
    if offset is not None:
        i = i + offset
    if decay is not None and before is not None:
        i = decay * before + i
    return i


def integrate(i: Tensor, m: Tensor | None) -> Tensor:
    """The potential before firing, `u = m + i` `[B, ...]`; `m` is None before the first step, which stands for 0."""
    return i if m is None else m + i


def fire(u: Tensor, k: NeuronConstants) -> Tensor:
    """Which potentials fire, `[B, ...]` as bool."""
    threshold, inverted = k.threshold, k.inverted
    if threshold is None:
        return torch.zeros_like(u, dtype=torch.bool)
    fired = u > threshold if k.strict else u >= threshold
    if inverted is not None:
        fired = torch.logical_xor(fired, inverted)
    return fired


def reset(u: Tensor, fired: Tensor, k: NeuronConstants) -> Tensor:
    """The potential m `[B, ...]` that is carried to the next step, leak applied, after a step with potential `u`."""
    leak, shift, amount = k.leak, k.shift, k.reset
    kept = u
    if leak is not None:
        kept = kept * leak
    if shift is not None:
        kept = kept + shift
    if amount is None:
        return kept
    if k.soft:
        return kept - amount * fired.to(u.dtype)
    return torch.where(fired, amount, kept)


def split_state(state: Tensor | None, k: NeuronConstants) -> tuple[Tensor | None, Tensor | None]:
    """m and i `[B, ...]` of a neuron's state: i only if there is a synaptic decay, neither before the first step."""
    if state is None or k.synaptic_decay is None:
        return state, None
    return state.select(1, 0), state.select(1, 1)


def join_state(m: Tensor, i: Tensor, k: NeuronConstants) -> Tensor:
    """The state that `split_state` takes apart: m `[B, ...]`, or with a synaptic decay m and i `[B, 2, ...]`."""
    return m if k.synaptic_decay is None else torch.stack([m, i], 1)


def neuron_step(x: Tensor, state: Tensor | None, k: NeuronConstants, t: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Time step `t` on the input `x`: potential and spikes in {0, 1} `[B, ...]`, next state."""
    m, before = split_state(state, k)
    i = synaptic_current(x, before, k, t)
    u = integrate(i, m)
    fired = fire(u, k)
    return u, fired.to(u.dtype), join_state(reset(u, fired, k), i, k)
