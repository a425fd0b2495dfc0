"""Damage to what is read out where that is a potential, and to the reading."""

from __future__ import annotations

from functools import partial
from random import Random

import torch
from torch import fx

from snnconv.ir.neuron import NEXT_STATE, POTENTIAL, SPIKES
from snnconv.ir.program import SpikingProgram, neuron_calls
from snnconv.lower import ops
from tests.verify.damage import edits
from tests.verify.damage.edits import ATEN, answer, behind, calls, factor, neuron, part
from tests.verify.damage.mechanisms import READ_OUTS

FAMILY = "membrane read-outs"
FIRING = ("hard", "soft", "leaky")
program, graph, sequence = (partial(add, FAMILY) for add in (edits.program, edits.graph, edits.lowered))


@program("leak of what is read", [name for name in READ_OUTS if name != "added"], 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return neuron(folded, "last", leak=folded.neurons["last"].leak * factor(rng))


@program("gain of what is read", READ_OUTS, 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    gain = folded.neurons["last"].gain
    return neuron(folded, "last", gain=torch.tensor(factor(rng, most=4)) * (1 if gain is None else gain))


@program("threshold of what is read", FIRING)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return neuron(folded, "last", threshold=folded.neurons["last"].threshold * (1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)))


@program("reset of what is read", FIRING)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return neuron(folded, "last", reset=folded.neurons["last"].reset + rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 3))


@program("soft for hard, hard for soft", FIRING)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    last = folded.neurons["last"]
    return neuron(folded, "last", soft=not last.soft, reset=last.reset + 0.1)


@program("a read-out that fires", ("never", "mean_potential", "leaky_none", "largest_potential"))
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    threshold = torch.full_like(folded.neurons["last"].threshold, rng.uniform(0.05, 0.3))
    return neuron(folded, "last", threshold=threshold, soft=False, silent=False)


@program("a neuron in front of the read-out that is another", READ_OUTS, 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    name, change = rng.choice(["threshold", "leak"]), 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
    return neuron(folded, "first", **{name: getattr(folded.neurons["first"], name) * change})


@graph("the potential before its reset", ("hard", "soft"))
def _(g: fx.Graph, rng: Random) -> None:
    answer(g, part(g, neuron_calls(g)[-1], POTENTIAL))


@graph("what is carried for the potential", ("leaky", "leaky_none", "never", "mean_potential"), form="step")
def _(g: fx.Graph, rng: Random) -> None:
    answer(g, part(g, neuron_calls(g)[-1], NEXT_STATE))


@graph("spikes for the potential", ("hard", "soft", "leaky"))
def _(g: fx.Graph, rng: Random) -> None:
    answer(g, part(g, neuron_calls(g)[-1], SPIKES))


@graph("spikes, or what is carried, for a hidden potential", ("added",), form="step")
def _(g: fx.Graph, rng: Random) -> None:
    first = neuron_calls(g)[0]
    part(g, first, POTENTIAL).replace_all_uses_with(part(g, first, rng.choice([SPIKES, NEXT_STATE])))


@graph("something small added to the potential", READ_OUTS, 8)
def _(g: fx.Graph, rng: Random) -> None:
    (output,) = g.find_nodes(op="output")
    y = output.args[0][0]
    with g.inserting_before(output):
        answer(g, g.call_function(ATEN.add.Tensor, (y, rng.choice([-1, 1]) * 10 ** -rng.uniform(2, 4))))


@graph("the potential of the sample before", READ_OUTS)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, part(g, neuron_calls(g)[-1], POTENTIAL), ATEN.roll.default, [1], [0])


@graph("half precision in what is read", READ_OUTS)
def _(g: fx.Graph, rng: Random) -> None:
    half = behind(g, part(g, neuron_calls(g)[-1], POTENTIAL), ATEN.to.dtype, rng.choice([torch.float16, torch.bfloat16]))
    behind(g, half, ATEN.to.dtype, torch.float32)


@sequence("another read-out", [name for name, found in READ_OUTS.items() if found.readout != "none"], 8)
def _(g: fx.Graph, rng: Random) -> None:
    reduced = rng.choice(calls(g, "reduce_time"))
    edits.with_argument(reduced, 1, rng.choice([name for name in ("mean", "sum", "last", "max") if name != reduced.args[1]]))


@sequence("a read-out over a step too few", READ_OUTS, 8)
def _(g: fx.Graph, rng: Random) -> None:
    reduced = rng.choice(calls(g, "reduce_time"))
    value, readout, timesteps = reduced.args
    missing = rng.choice([0, timesteps - 1]) if readout != "last" else timesteps - 1
    with g.inserting_before(reduced):
        steps = [g.call_function(ops.STEP_OF, (value, 0, t, timesteps)) for t in range(timesteps) if t != missing]
        fewer = g.call_function(ATEN.cat.default, (steps,))
    reduced.args = (fewer, readout, timesteps - 1)
