"""Damage to memories, to what is fed back, and to the filters of spike response neurons."""

from __future__ import annotations

import operator
from functools import partial
from random import Random

import torch
from torch import fx

from snnconv.ir.nodes import reached
from snnconv.ir.program import SpikingProgram, neuron_calls
from snnconv.ir.starting import STARTING_FROM
from tests.verify.damage import edits
from tests.verify.damage.edits import ATEN, behind, calls, factor, leave, left, memories, numbers, with_constant
from tests.verify.damage.mechanisms import FILTERS, MEMORIES, RECURRENT, STARTING, WRITTEN_OUT

FEEDBACK = {
    "feedback": "back.weight",
    "pair": "back.weight",
    "linear": "1.rc.weight",
    "linear_all_steps": "1.rc.weight",
    "snntorch conv": "2.recurrent.weight",
    "snntorch alone": "2.recurrent.V",
    "snntorch synaptic": "2.recurrent.weight",
    "snntorch alpha_soft": "5.recurrent.weight",
    "snntorch looping": "lif1.recurrent.weight",
}
"""The weights by which spikes are fed back."""
KEEPING = {
    "memories": MEMORIES,
    "recurrence": RECURRENT,
    "spike response": FILTERS,
    "written-out memories": WRITTEN_OUT,
}
REAL = {
    "memories": [name for name in MEMORIES if name != "delayed"],
    "recurrence": ("pair", "snntorch alpha_soft"),
    "spike response": FILTERS,
    "written-out memories": WRITTEN_OUT,
}
"""Those that keep other values than spikes."""
PAIRED = {
    "memories": ("long", "older"),
    "recurrence": ("snntorch alpha_soft",),
    "spike response": tuple(FILTERS),
    "written-out memories": ("written out, cells",),
}
NUMBERED = {
    "memories": ("older", "delayed", "returned", "adaptive"),
    "recurrence": ("element_wise",),
    "spike response": tuple(FILTERS),
    "written-out memories": tuple(WRITTEN_OUT),
}


def some(g: fx.Graph, rng: Random) -> int:
    """A memory."""
    return rng.randrange(len(memories(g)))


def not_found(g: fx.Graph, rng: Random) -> None:
    """Every step finds zeros."""
    behind(g, memories(g)[some(g, rng)], ATEN.zeros_like.default)


def not_updated(g: fx.Graph, rng: Random) -> None:
    """Every step leaves what it found."""
    which = some(g, rng)
    leave(g, which, memories(g)[which])


def scaled(g: fx.Graph, rng: Random) -> None:
    """Every step leaves a little more or less."""
    which = some(g, rng)
    (output,) = g.find_nodes(op="output")
    with g.inserting_before(output):
        leave(g, which, g.call_function(ATEN.mul.Tensor, (left(g)[which], factor(rng))))


def shifted(g: fx.Graph, rng: Random) -> None:
    """Every step leaves something more."""
    which = some(g, rng)
    (output,) = g.find_nodes(op="output")
    with g.inserting_before(output):
        leave(g, which, g.call_function(ATEN.add.Tensor, (left(g)[which], rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 3))))


def of_another_sample(g: fx.Graph, rng: Random) -> None:
    """A sample finds what another left."""
    behind(g, memories(g)[some(g, rng)], ATEN.roll.default, [1], [0])


def halved(g: fx.Graph, rng: Random) -> None:
    """What is kept, if it is more than spikes, is kept in half precision."""
    real = [memory for memory, value in zip(memories(g), left(g), strict=True) if value.target is not operator.getitem]
    found = behind(g, rng.choice(real), ATEN.to.dtype, rng.choice([torch.float16, torch.bfloat16]))
    behind(g, found, ATEN.to.dtype, torch.float32)


def exchanged(g: fx.Graph, rng: Random) -> None:
    """Two memories of one shape, each left in the other's place."""
    values = left(g)
    alike = [
        (a, b)
        for a in range(len(values))
        for b in range(a)
        if memories(g)[a].meta["val"].shape[1:] == memories(g)[b].meta["val"].shape[1:]
    ]
    a, b = rng.choice(alike)
    leave(g, a, values[b])
    leave(g, b, values[a])


def early(g: fx.Graph, rng: Random) -> None:
    """A step reads what it leaves itself, not what the step before left."""
    kept, value = memories(g)[0], left(g)[0]
    for user in list(kept.users):
        if user.op != "output" and user not in reached([value], lambda node: node.all_input_nodes):
            user.replace_input_with(kept, value)


def another_number(g: fx.Graph, rng: Random) -> None:
    """A constant of the memory's own recursion, a number in the code."""
    node, i = rng.choice(numbers(g))
    edits.with_argument(node, i, float(node.args[i]) * factor(rng))


for _family, _networks in KEEPING.items():
    for _name, _edit in {
        "a memory that is not found": not_found,
        "a memory that is not updated": not_updated,
        "a memory that is left a little larger or smaller": scaled,
        "something more left in a memory": shifted,
        "the memory of another sample": of_another_sample,
    }.items():
        edits.graph(_family, _name, _networks, 6)(_edit)
    edits.graph(_family, "a memory in half precision", REAL[_family], 4)(halved)
    edits.graph(_family, "two memories exchanged", PAIRED[_family], 4)(exchanged)
    edits.graph(_family, "another number in a recursion", NUMBERED[_family], 6)(another_number)
edits.graph("memories", "a memory that is read a step early", ("delay", "delayed"), 4)(early)
program = partial(edits.program, "recurrence")


def fed_back(folded: SpikingProgram) -> str:
    """The path of a weight by which spikes are fed back."""
    held = {str(node.target) for node in folded.graph.graph.nodes if node.op == "get_attr"}
    return next(path for path in FEEDBACK.values() if path in held)


@program("feedback weights of one neuron", [name for name in FEEDBACK if name != "snntorch alpha_soft"], 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    def change(weight: torch.Tensor) -> torch.Tensor:
        rows = weight.view(len(weight) if weight.dim() else 1, -1)
        rows[rng.randrange(len(rows))] += rng.choice([-1, 1]) * rng.uniform(0.05, 0.5)
        return weight

    return with_constant(folded, fed_back(folded), change)


@program("feedback weights that are all a little larger or smaller", FEEDBACK, 9)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_constant(folded, fed_back(folded), lambda weight: weight * factor(rng, 1, 2))


@program("feedback dropped", FEEDBACK, 9)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_constant(folded, fed_back(folded), torch.zeros_like)


@program(
    "feedback weights transposed", [name for name in FEEDBACK if name not in ("snntorch alone", "linear", "linear_all_steps")], 6
)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_constant(folded, fed_back(folded), lambda weight: weight.transpose(0, 1).contiguous())


@edits.graph("recurrence", "feedback that is subtracted", ("feedback", "pair", "snntorch conv", "snntorch alone"), 4)
def _(g: fx.Graph, rng: Random) -> None:
    added = [node for node in calls(g, "add") if reached([node], lambda n: n.all_input_nodes) & set(memories(g))]
    added[0].target = ATEN.sub.Tensor


@edits.graph("recurrence", "feedback of another neuron's spikes", ("pair",), 2)
def _(g: fx.Graph, rng: Random) -> None:
    back, forth = (
        next(node for node in calls(g, "linear") if str(node.args[1].target) == f"{name}.weight") for name in ("back", "forth")
    )
    back.args = (forth.args[0], *back.args[1:])


@edits.graph("spike response", "a filter that is left out", FILTERS, 4)
def _(g: fx.Graph, rng: Random) -> None:
    """The neuron gets what arrives instead of what the filter makes of it."""
    call = rng.choice(neuron_calls(g))
    arriving = [node for node in calls(g, "conv2d") if call in reached([node], lambda n: list(n.users))]
    call.args = (arriving[-1], *call.args[1:])


# What is kept from a constant on


FIRST = "first values"
FINITE = tuple(name for name in STARTING if name != "starting, late")


def start(g: fx.Graph, rng: Random) -> fx.Node:
    """Where a memory is read that starts from a constant."""
    return rng.choice(g.find_nodes(op="call_function", target=STARTING_FROM))


@edits.graph(FIRST, "another first value", FINITE, 6)
def _(g: fx.Graph, rng: Random) -> None:
    node = start(g, rng)
    with g.inserting_before(node):
        edits.with_argument(node, 1, g.call_function(ATEN.mul.Tensor, (node.args[1], factor(rng))))


@edits.graph(FIRST, "zeros for a first value", STARTING, 6)
def _(g: fx.Graph, rng: Random) -> None:
    node = start(g, rng)
    node.replace_all_uses_with(node.args[0])


@edits.graph(FIRST, "the first value at every step", FINITE, 6)
def _(g: fx.Graph, rng: Random) -> None:
    node = start(g, rng)
    memory, first = node.args
    with g.inserting_before(node):
        nothing = g.call_function(ATEN.mul.Tensor, (memory, 0.0))
        node.replace_all_uses_with(g.call_function(ATEN.add.Tensor, (nothing, first)))


@edits.lowered(FIRST, "the first value at the second step", STARTING, 6, form="step")
def _(g: fx.Graph, rng: Random) -> None:
    edits.with_argument(rng.choice(calls(g, "eq")), 1, 1)
