"""Damage to the order of steps and samples in sequences: time that is merged into the batch, and what is told apart again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from torch import Tensor, fx

from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import SpikingProgram
from tests.verify.damage import edits
from tests.verify.damage.edits import ATEN, behind, calls, neuron, with_argument, with_constant
from tests.verify.damage.mechanisms import (
    ATTENTION,
    FILTERS,
    KEPT,
    MECHANISMS,
    MEMORIES,
    READ_OUTS,
    RECURRENT,
    STEPS,
    WRITTEN_OUT,
)

FRAMES = tuple(name for name, mechanism in MECHANISMS.items() if mechanism.event)
REMEMBERING = {**MEMORIES, **RECURRENT, **FILTERS, **WRITTEN_OUT}
LOOKING = (
    "gated",
    "returned",
    "filtered",
    "filtered_all_steps",
    "linear_all_steps",
    "snntorch alpha_soft",
    *FILTERS,
    *WRITTEN_OUT,
)
"""Those whose loops read what was computed for all steps before."""
IN_ORDER = ("long", "delay", "filtered", "filtered_all_steps", "snntorch conv", "snntorch alone", "snntorch alpha_soft", *FILTERS)
"""Those in which more than a mean over time reads what loops give."""
WAYS = ("matmul of a map", "attention of a tokens", "kept group", *ATTENTION)
sequence = partial(edits.lowered, "time and batch")


def turned(g: fx.Graph, value: fx.Node, timesteps: int) -> fx.Node:
    """`[T * B, ...]` with the samples first, so that each takes another's steps."""
    apart = behind(g, value, ATEN.unflatten.int, 0, [timesteps, -1])
    exchanged = behind(g, apart, ATEN.transpose.int, 0, 1)
    return behind(g, exchanged, ATEN.flatten.using_ints, 0, 1)


@sequence("frames merged with the samples first", FRAMES, 6)
def _(g: fx.Graph, rng: Random) -> None:
    (merged,) = calls(g, "merge_time")
    merged.target, merged.args = ATEN.flatten.using_ints, (merged.args[0], 0, 1)


@sequence("an image repeated with the samples first", ("delay", "written out, norm of each step"))
def _(g: fx.Graph, rng: Random) -> None:
    (node,) = calls(g, "repeat_time")
    node.target, node.args = ATEN.repeat_interleave.self_int, (*node.args, 0)


@sequence("read out with the samples first", (*READ_OUTS, *STEPS), 6)
def _(g: fx.Graph, rng: Random) -> None:
    reduced = rng.choice(calls(g, "reduce_time"))
    turned(g, reduced.args[0], reduced.args[-1])


@sequence("steps and samples exchanged in front of a neuron", (*READ_OUTS, *WAYS, *KEPT), 8)
def _(g: fx.Graph, rng: Random) -> None:
    timed = [node for node in calls(g, "neuron_over_time", "neuron_read_over_time") if not node.args[-1]]
    node = rng.choice(timed)
    with g.inserting_before(node):
        apart = g.call_function(ATEN.unflatten.int, (node.args[0], 0, [node.args[-2], -1]))
        exchanged = g.call_function(ATEN.transpose.int, (apart, 0, 1))
        with_argument(node, 0, g.call_function(ATEN.flatten.using_ints, (exchanged, 0, 1)))


@sequence("steps backwards in front of a neuron", (*READ_OUTS, *WAYS), 6)
def _(g: fx.Graph, rng: Random) -> None:
    timed = [node for node in calls(g, "neuron_over_time", "neuron_read_over_time") if not node.args[-1]]
    node = rng.choice(timed)
    with g.inserting_before(node):
        apart = g.call_function(ATEN.unflatten.int, (node.args[0], 0, [node.args[-2], -1]))
        backwards = g.call_function(ATEN.flip.default, (apart, [0]))
        with_argument(node, 0, g.call_function(ATEN.flatten.using_ints, (backwards, 0, 1)))


@sequence("another step of what a loop reads", LOOKING, 8)
def _(g: fx.Graph, rng: Random) -> None:
    node = rng.choice(calls(g, "step_of"))
    with_argument(node, 2, rng.choice([t for t in range(node.args[3]) if t != node.args[2]]))


@sequence("two steps of a loop exchanged", IN_ORDER, 8)
def _(g: fx.Graph, rng: Random) -> None:
    node = rng.choice([node for node in calls(g, "cat") if len(node.args[0]) > 2])
    steps = list(node.args[0])
    a, b = rng.sample(range(len(steps)), 2)
    steps[a], steps[b] = steps[b], steps[a]
    with_argument(node, 0, steps)


def recalled(g: fx.Graph, rng: Random) -> list[fx.Node]:
    """What each step finds in a memory."""
    nodes = calls(g, "recalled")
    name = rng.choice(sorted({str(node.args[1]) for node in nodes}))
    return [node for node in nodes if node.args[1] == name]


@sequence("a memory one step late", REMEMBERING, 12)
def _(g: fx.Graph, rng: Random) -> None:
    found = recalled(g, rng)
    values = [node.args[0] for node in found]
    for node, before in zip(found[1:], values, strict=False):
        with_argument(node, 0, before)


@sequence("a memory that is reset at a step", REMEMBERING, 8)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, rng.choice(recalled(g, rng)[1:]), ATEN.zeros_like.default)


@sequence("a first memory that is not zero", REMEMBERING, 8)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, recalled(g, rng)[0], ATEN.add.Tensor, rng.choice([-1, 1]) * 10 ** -rng.uniform(0, 2))


# Constants of each step, where they come from lists or tables in the network's own code


CHANGING = (*STEPS, "written out, norm of each step")
steps = partial(edits.program, "constants of each step")


def with_changing(folded: SpikingProgram, rng: Random, change: Callable[[Tensor], Tensor]) -> SpikingProgram:
    """The program with another constant of those that have an entry per step, in its graph or of a neuron."""
    held = [str(node.args[0].target) for node in folded.graph.graph.nodes if node.target is AT_STEP]
    if held:
        return with_constant(folded, rng.choice(held), change)
    name = rng.choice([name for name, found in folded.neurons.items() if found.per_step])
    leaf = rng.choice([leaf for leaf in ("gain", "offset") if getattr(folded.neurons[name], leaf) is not None])
    return neuron(folded, name, **{leaf: change(getattr(folded.neurons[name], leaf).clone())})


@steps("two steps swapped", CHANGING, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    def change(value: Tensor) -> Tensor:
        a, b = rng.sample(range(len(value)), 2)
        value[[a, b]] = value[[b, a]]
        return value

    return with_changing(folded, rng, change)


@steps("a step repeated", CHANGING, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    def change(value: Tensor) -> Tensor:
        at = rng.randrange(1, len(value))
        value[at] = value[at - 1]
        return value

    return with_changing(folded, rng, change)


@steps("one step late or early", CHANGING, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    shift = rng.choice([1, -1])
    return with_changing(folded, rng, lambda value: value.roll(shift, 0))


@steps("one entry of one step", CHANGING, 6)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    def change(value: Tensor) -> Tensor:
        value.view(-1)[rng.randrange(value.numel())] += rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
        return value

    return with_changing(folded, rng, change)
