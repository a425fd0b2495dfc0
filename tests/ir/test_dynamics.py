"""The phases of a neuron: what its constants leave out costs nothing, and `torch.jit` computes what torch does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnconv.ir.dynamics import NeuronConstants, at_step, join_state, neuron_step, split_state

SHAPE, STEPS, BATCH = (3, 2, 2), 4, 2
NEUTRAL = {"leak": 1.0, "shift": 0.0, "gain": 1.0, "offset": 0.0, "synaptic_decay": 0.0}


def values(size: tuple[int, ...], seed: int) -> Tensor:
    """Multiples of 1/8, whose sums and products are exact."""
    return torch.randint(-16, 17, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 8


def every_constant(soft: bool, strict: bool) -> NeuronConstants:
    tensors = {name: values(SHAPE, seed) for seed, name in enumerate(("threshold", "leak", "shift", "reset", "synaptic_decay"))}
    per_step = {name: values((STEPS, 1, *SHAPE), seed) for seed, name in enumerate(("gain", "offset"), 9)}
    return NeuronConstants(**tensors, **per_step, inverted=values((3, 1, 1), 20) > 0, soft=soft, strict=strict)


def all_steps(k: NeuronConstants, timesteps: int) -> tuple[Tensor, Tensor]:
    """Potentials and spikes `[T, B, *SHAPE]`."""
    state, seen = None, []
    for t, x in enumerate(values((timesteps, BATCH, *SHAPE), 30)):
        u, spikes, state = neuron_step(x, state, k, t)
        seen.append((u, spikes))
    u, spikes = (torch.stack(kind) for kind in zip(*seen, strict=True))
    return u, spikes


def scripted(x: Tensor, k: NeuronConstants, timesteps: int) -> tuple[list[Tensor], list[Tensor]]:
    state: Tensor | None = None
    potentials: list[Tensor] = []
    fired: list[Tensor] = []
    for t in range(timesteps):
        u, spikes, state = neuron_step(x[t], state, k, t)
        potentials.append(u)
        fired.append(spikes)
    return potentials, fired


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_torch_jit_computes_what_torch_does(soft: bool, strict: bool) -> None:
    compiled = torch.jit.script(scripted)
    for k in (every_constant(soft, strict), NeuronConstants(values(SHAPE, 1), soft=soft, strict=strict)):
        found = map(torch.stack, compiled(values((STEPS, BATCH, *SHAPE), 30), k, STEPS))
        assert all(torch.equal(a, b) for a, b in zip(found, all_steps(k, STEPS), strict=True))


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_constant_left_out_is_the_neutral_one(name: str) -> None:
    k = every_constant(soft=False, strict=True)
    left_out, neutral = k._replace(**{name: None}), k._replace(**{name: torch.full(SHAPE, NEUTRAL[name]).double()})
    assert all(torch.equal(a, b) for a, b in zip(all_steps(left_out, STEPS), all_steps(neutral, STEPS), strict=True))
    assert not torch.equal(all_steps(k, STEPS)[0], all_steps(neutral, STEPS)[0])


def test_a_neuron_without_a_reset_only_leaks() -> None:
    k = every_constant(soft=False, strict=True)._replace(reset=None)
    x = values((BATCH, *SHAPE), 30)
    u, _, state = neuron_step(x, None, k)
    assert torch.equal(state.select(1, 0), u * k.leak + k.shift)


def test_a_state_is_a_potential_and_with_a_synaptic_decay_a_current_beside_it() -> None:
    m, i = values((BATCH, *SHAPE), 1), values((BATCH, *SHAPE), 2)
    plain, synaptic = NeuronConstants(m), NeuronConstants(m, synaptic_decay=m)
    assert join_state(m, i, plain) is m and split_state(m, plain) == (m, None)
    assert all(torch.equal(a, b) for a, b in zip(split_state(join_state(m, i, synaptic), synaptic), (m, i), strict=True))
    assert split_state(None, synaptic) == (None, None)


def test_a_step_beyond_the_last_constant_is_an_error() -> None:
    gain = values((STEPS, 1, *SHAPE), 1)
    assert torch.equal(at_step(gain, STEPS - 1, 4), gain[-1])
    assert torch.equal(at_step(gain[0], STEPS, 4), gain[0])
    with pytest.raises(RuntimeError, match="constants per step for 4 time steps: there is no step 5"):
        at_step(gain, STEPS, 4)
