"""Damage to the networks of `mechanisms`: edits of their folded programs, and of what those are lowered to."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.artifact.formats import Export
from snnconv.export import format_of
from snnconv.ir.nodes import results
from snnconv.ir.program import SpikingProgram, neuron_calls, put, share, tensors
from tests.verify.damage import mechanisms, register, workbench
from tests.verify.damage.program import Wrong, encoded
from tests.verify.damage.workbench import Case

Edit = Callable[[fx.Graph, Random], None]
ATEN = torch.ops.aten


def program(
    family: str, name: str, networks: Iterable[str], mutants: int = 4, form: str = "", **options: Any
) -> Callable[[Wrong], Wrong]:
    """Register damage to the folded programs of some networks, in every format and form, or in one form."""

    def add(change: Wrong) -> Wrong:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            return encoded(change(workbench.folded(case), rng), case)

        register(family, name, damage, mechanisms.on(networks, form), mutants, **{"shown": True, **options})
        return change

    return add


def graph(family: str, name: str, networks: Iterable[str], mutants: int = 4, **options: Any) -> Callable[[Edit], Edit]:
    """Register an edit of the graphs of those programs."""

    def add(edit: Edit) -> Edit:
        def change(folded: SpikingProgram, rng: Random) -> SpikingProgram:
            return replace(folded, graph=edited(folded.graph, edit, rng))

        program(family, name, networks, mutants, **options)(change)
        return edit

    return add


def lowered(
    family: str, name: str, networks: Iterable[str], mutants: int = 4, form: str = "sequence", **options: Any
) -> Callable[[Edit], Edit]:
    """Register an edit of what those programs are lowered to, in one form."""

    def add(edit: Edit) -> Edit:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            format = format_of(Path(f"net{case.suffix}"))
            export = Export(workbench.folded(case), case.form, None, format.packages)
            vars(export)["lowered"] = replace(export.lowered, graph=edited(export.lowered.graph, edit, rng))
            return format.encode(export)

        register(family, name, damage, mechanisms.on(networks, form), mutants, **{"shown": True, **options})
        return edit

    return add


def edited(graph: fx.GraphModule, edit: Edit, rng: Random) -> fx.GraphModule:
    """A copy of a graph, edited."""
    copied = share(graph)
    edit(copied.graph, rng)
    copied.graph.eliminate_dead_code()
    copied.graph.lint()
    held = tensors(graph)
    fresh = share(fx.GraphModule(copied, copied.graph))
    for path in tensors(fresh):
        put(fresh, path, held[path])
    return fresh


def factor(rng: Random, least: float = 1, most: float = 3) -> float:
    """A factor off 1 by 10^-least to 10^-most."""
    return 1 + rng.choice([-1, 1]) * 10 ** -rng.uniform(least, most)


def neuron(folded: SpikingProgram, name: str, **changes: Any) -> SpikingProgram:
    """The program with other constants for one of its neurons."""
    return replace(folded, neurons={**folded.neurons, name: replace(folded.neurons[name], **changes)})


def with_constant(folded: SpikingProgram, path: str, change: Callable[[Tensor], Tensor]) -> SpikingProgram:
    """The program with another constant in its graph."""
    copied = share(folded.graph)
    put(copied, path, change(tensors(copied)[path].clone()))
    return replace(folded, graph=copied)


def memories(g: fx.Graph) -> list[fx.Node]:
    """What the step finds in its memories."""
    return list(g.find_nodes(op="placeholder"))[1 + len(neuron_calls(g)) :]


def left(g: fx.Graph) -> list[fx.Node]:
    """What the step leaves in them."""
    return results(g).following[len(neuron_calls(g)) :]


def leave(g: fx.Graph, which: int, value: fx.Node) -> None:
    """Have the step leave something else in a memory."""
    (output,) = g.find_nodes(op="output")
    values = list(output.args[0])
    values[1 + len(neuron_calls(g)) + which] = value
    output.args = (tuple(values),)


def answer(g: fx.Graph, value: fx.Node) -> None:
    """Have the step give something else."""
    (output,) = g.find_nodes(op="output")
    output.args = ((value, *output.args[0][1:]),)


def part(g: fx.Graph, call: fx.Node, which: int) -> fx.Node:
    """One of the things that a neuron gives."""
    found = next((value for value in call.users if value.args[1] == which), None)
    if found is None:
        with g.inserting_after(call):
            found = g.call_function(operator.getitem, (call, which))
    return found


def behind(g: fx.Graph, node: fx.Node, target: Any, *args: Any, readers: Callable[[fx.Node], bool] = lambda _: True) -> fx.Node:
    """`target(node, *args)`, which those who read `node` find in its place."""
    after = node
    while after.next.op in ("placeholder", "get_attr") and node.op in ("placeholder", "get_attr"):
        after = after.next
    with g.inserting_after(after):
        made: fx.Node = g.call_function(target, (node, *args))
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made, lambda user: user is not made and readers(user))
    return made


def calls(g: fx.Graph, *names: str) -> list[fx.Node]:
    """The calls of the operators of these names, whatever their overloads."""
    return [node for node in g.nodes if node.op == "call_function" and getattr(node.target, "_opname", "") in names]


def numbers(g: fx.Graph) -> list[tuple[fx.Node, int]]:
    """The numbers in arithmetic that change something if they are scaled, and where they stand."""
    arithmetic = calls(g, "add", "sub", "rsub", "mul", "div")
    return [(node, i) for node in arithmetic for i, a in enumerate(node.args) if isinstance(a, int | float) and a]


def with_argument(node: fx.Node, i: int, value: Any) -> None:
    """Give a call another argument."""
    node.args = (*node.args[:i], value, *node.args[i + 1 :])
