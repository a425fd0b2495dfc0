"""Damage to neurons that nobody taught: those found by their behaviour, and the comparisons that a forward writes out."""

from __future__ import annotations

from functools import partial
from random import Random

import torch

from snnconv.ir.program import SpikingProgram
from tests.verify.damage import edits
from tests.verify.damage.edits import factor, neuron
from tests.verify.damage.mechanisms import IDENTIFIED, WRITTEN_OUT

FOUND = {"identified neurons": IDENTIFIED, "written-out neurons": WRITTEN_OUT}
LEAKY = tuple(name for name in IDENTIFIED if name != "merged")
program = partial(edits.program, "identified neurons")


def one(folded: SpikingProgram, rng: Random) -> str:
    """A neuron."""
    return rng.choice(sorted(folded.neurons))


def threshold_of_one(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    """The threshold of a neuron, or of one of its channels."""
    name = one(folded, rng)
    threshold = folded.neurons[name].threshold.clone()
    threshold.view(-1)[rng.randrange(threshold.numel())] += rng.choice([-1, 1]) * rng.uniform(0.05, 0.3)
    return neuron(folded, name, threshold=threshold)


def threshold_a_little_off(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    """Every threshold one unit in the last place off: too little for any spike of the exam."""
    name = one(folded, rng)
    ways = torch.full_like(folded.neurons[name].threshold, rng.choice([-torch.inf, torch.inf]))
    return neuron(folded, name, threshold=torch.nextafter(folded.neurons[name].threshold, ways))


def inverted(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    """Fires below its threshold."""
    name = one(folded, rng)
    threshold, before = folded.neurons[name].threshold, folded.neurons[name].inverted
    none = torch.zeros_like(threshold, dtype=torch.bool)
    return neuron(folded, name, inverted=~(none if before is None else before))


def shifted(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    """Gets a little more or less than it should."""
    name = one(folded, rng)
    offset = folded.neurons[name].offset
    return neuron(
        folded, name, offset=torch.tensor(rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 3)) + (0 if offset is None else offset)
    )


for _family, _networks in FOUND.items():
    edits.program(_family, "the threshold of one", _networks, 8)(threshold_of_one)
    edits.program(_family, "a threshold one ulp off", _networks, 6, quiet=True, shown=False)(threshold_a_little_off)
    edits.program(_family, "fires below its threshold", _networks, 6)(inverted)
    edits.program(_family, "a current of its own", _networks, 6)(shifted)


@program("the leak of one", LEAKY, 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    name = one(folded, rng)
    leak = folded.neurons[name].leak.clone()
    leak.view(-1)[rng.randrange(leak.numel())] *= factor(rng, 1, 2)
    return neuron(folded, name, leak=leak)


@program("a leak where there was none, none where there was one", IDENTIFIED, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    name = one(folded, rng)
    leak = folded.neurons[name].leak
    return neuron(folded, name, leak=torch.where(leak == 1, 0.9, torch.ones_like(leak)))


@program("the reset of one", IDENTIFIED, 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    name = one(folded, rng)
    return neuron(folded, name, reset=folded.neurons[name].reset + rng.choice([-1, 1]) * 10 ** -rng.uniform(0.5, 2))


@program("a soft reset made hard, a hard one soft", IDENTIFIED, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    name = one(folded, rng)
    found = folded.neurons[name]
    return neuron(folded, name, soft=not found.soft, reset=found.reset + (0 if found.soft else rng.uniform(0.1, 1)))


@program("what is carried is shifted", IDENTIFIED, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return neuron(folded, one(folded, rng), shift=torch.tensor(rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 3)))


@program("the decay of a synaptic current", ("synaptic current",))
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    name = one(folded, rng)
    decay = folded.neurons[name].synaptic_decay
    assert decay is not None
    return neuron(folded, name, synaptic_decay=decay * factor(rng, 1, 2))
