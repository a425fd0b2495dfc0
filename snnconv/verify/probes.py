"""Adversarial inputs: what real data may never show. Seeded, judged like data.

extremes     nothing at all, everything saturated, one hot pixel
thresholds   for layers all over the network, two inputs that are neighbours in float32 and between which one of its neurons
             decides differently, found by bisection on the line between two inputs. What flips it is a potential that crosses
             its threshold, its own or that of a layer before it: the crossing lies within a few units in the last place.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from snnconv.ir.program import SpikingProgram, TimeContract

SATURATED = 16.0
_HALVINGS = 26
_ATTEMPTS = 64
_LAYERS = 8
_STEPS = 2

Target = tuple[str, int, int]
"""A neuron at a time: its layer, its flat index, the step."""


def extremes(contract: TimeContract) -> Tensor:
    """Zeros, every value at one and at `SATURATED`, one hot pixel in the middle and one in the last corner: `[5, ...]`."""
    x = torch.zeros(contract.batch_shape(5))
    x[1], x[2] = 1.0, SATURATED
    frame = x[:, 0] if contract.event else x
    frame[(3, *[size // 2 for size in contract.input_shape])] = SATURATED
    frame[(4, *[size - 1 for size in contract.input_shape])] = SATURATED
    return x


def near_thresholds(program: SpikingProgram, some: Tensor, seed: int) -> Tensor:
    """Two inputs on both sides of a decision of each of up to `_LAYERS` layers: `[2 * layers, ...]`, first all of one side.

    A layer that never decides otherwise is left out. `some` are inputs `[N, ...]` to start from.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(program.contract.batch_shape(4), generator=generator)
    low, high, targets = _pairs(program, torch.cat([some, noise * some.abs().max().clamp(min=1.0)]), generator)
    if not targets:
        return low
    a, b = torch.zeros(len(targets)), torch.ones(len(targets))
    wide = (-1, *[1] * (low.dim() - 1))

    def between(share: Tensor) -> Tensor:
        return torch.lerp(low, high, share.view(wide))

    before = _decisions(program, low, targets)
    for _ in range(_HALVINGS):
        middle = (a + b) / 2
        same = _decisions(program, between(middle), targets) == before
        a, b = torch.where(same, middle, a), torch.where(same, b, middle)
    return torch.cat([between(a), between(b)])


def _pairs(program: SpikingProgram, pool: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, list[Target]]:
    """Per layer, two inputs of the pool between which one of its neurons decides differently in one of the first steps."""
    steps = min(_STEPS, program.contract.timesteps)
    spikes = _spikes(program, pool, steps)

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    low, high, targets = [], [], []
    for name in _spread(list(program.neurons)):
        for _ in range(_ATTEMPTS):
            i, j, step = below(len(pool)), below(len(pool)), below(steps)
            unlike = (spikes[name, step][i] ^ spikes[name, step][j]).nonzero().flatten()
            if len(unlike):
                low.append(pool[i])
                high.append(pool[j])
                targets.append((name, int(unlike[below(len(unlike))]), step))
                break
    return torch.stack(low) if low else pool[:0], torch.stack(high) if high else pool[:0], targets


def _spread(layers: list[str]) -> list[str]:
    """At most `_LAYERS` of the layers, the first and the last among them."""
    if len(layers) <= _LAYERS:
        return layers
    return [layers[round(i * (len(layers) - 1) / (_LAYERS - 1))] for i in range(_LAYERS)]


def _decisions(program: SpikingProgram, x: Tensor, targets: list[Target]) -> Tensor:
    """Whether target k fires on sample k."""
    spikes = _spikes(program, x, 1 + max(step for _, _, step in targets))
    return torch.stack([spikes[name, step][k, index] for k, (name, index, step) in enumerate(targets)])


def _spikes(program: SpikingProgram, x: Tensor, steps: int) -> dict[tuple[str, int], Tensor]:
    """The spikes `[B, ...]`, flattened, of every layer at each of the first `steps`."""
    seen: dict[tuple[str, int], Tensor] = {}
    short = replace(program, contract=replace(program.contract, timesteps=steps))

    def watch(name: str, step: int, u: Tensor, spikes: Tensor) -> None:
        seen[name, step] = spikes.flatten(1) > 0

    short.run(x[:, :steps] if program.contract.event else x, watch)
    return seen
