"""Damage to networks with several outputs: one of them stands in the place of another, or is another at last."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

import torch
from onnx import numpy_helper
from torch import fx

from snnconv.artifact.script_archive import METADATA_FILE
from snnconv.ir.nodes import results
from snnconv.ir.program import SpikingProgram, share
from snnconv.ir.time import READOUTS
from tests.verify.damage import register, workbench
from tests.verify.damage.onnx import Graph, graph
from tests.verify.damage.program import encoded, folded
from tests.verify.damage.torchscript import Script, code
from tests.verify.damage.workbench import HEADS, Case

LIKE = ("logits", "aux")
"""Two outputs that are alike in shape."""


def cases(suffix: str, *forms: str, readout: str = "mean") -> tuple[Case, ...]:
    return tuple(Case(HEADS, suffix, form, event, readout) for form in forms or ("sequence", "step") for event in (False, True))


def factor(rng: Random) -> float:
    return 1 + rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 4)


Rewrite = Callable[[list[fx.Node], fx.Graph, Random], list[fx.Node]]


def program(name: str) -> Callable[[Rewrite], Rewrite]:
    """Register damage to what a folded program returns."""

    def add(change: Rewrite) -> Rewrite:
        @folded(name, cases(".pt2", "step"))
        def _(sound: SpikingProgram, rng: Random) -> SpikingProgram:
            module = share(sound.graph)
            outputs, following = results(module.graph)
            (output,) = module.graph.find_nodes(op="output")
            with module.graph.inserting_before(output):
                output.args = ((*change(outputs, module.graph, rng), *following),)
            module.recompile()
            return replace(sound, graph=module)

        return change

    return add


@program("two outputs of a program swapped")
def _(outputs: list[fx.Node], held: fx.Graph, rng: Random) -> list[fx.Node]:
    return [outputs[1], outputs[0], *outputs[2:]]


@program("an output of a program wired to another head")
def _(outputs: list[fx.Node], held: fx.Graph, rng: Random) -> list[fx.Node]:
    one = rng.choice(outputs[:2])
    return [one, one, *outputs[2:]]


@program("a factor on the second output of a program")
def _(outputs: list[fx.Node], held: fx.Graph, rng: Random) -> list[fx.Node]:
    return [outputs[0], held.call_function(torch.ops.aten.mul.Tensor, (outputs[1], factor(rng))), *outputs[2:]]


@graph("two outputs swapped", cases(".onnx"))
def _(g: Graph, rng: Random) -> None:
    one, other = (g.maker(name) for name in LIKE)
    at, to = (list(node.output).index(name) for node, name in zip((one, other), LIKE, strict=True))
    one.output[at], other.output[to] = LIKE[1], LIKE[0]


@graph("an output wired to another head", cases(".onnx"))
def _(g: Graph, rng: Random) -> None:
    lost, found = rng.sample(LIKE, 2)
    maker = g.maker(lost)
    maker.output[list(maker.output).index(lost)] = f"{lost}.lost"
    g.insert("Identity", [found], output=lost)


@graph("a factor on one of several outputs", cases(".onnx"))
def _(g: Graph, rng: Random) -> None:
    g.behind(rng.choice(LIKE), lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("an output taken one step too early", cases(".onnx", "sequence", readout="last"))
def _(g: Graph, rng: Random) -> None:
    last = {t.name: t for t in g.graph.initializer if not t.dims and numpy_helper.to_array(t) == workbench.TIMESTEPS - 1}
    node = rng.choice([node for node in g.nodes("Gather") if node.input[1] in last])
    node.input[1] = g.hold(workbench.TIMESTEPS - 2, "int64")


_RETURNED = r"\((linear\w*), (linear\w*), "


@code("two outputs of the code swapped", cases(".ts"))
def _(script: Script, rng: Random) -> None:
    script.body(_RETURNED, lambda found: f"({found[2]}, {found[1]}, ")


@code("an output of the code wired to another head", cases(".ts"))
def _(script: Script, rng: Random) -> None:
    one = rng.choice([1, 2])
    script.body(_RETURNED, lambda found: f"({found[one]}, {found[one]}, ")


@code("a factor on the second output of the code", cases(".ts"))
def _(script: Script, rng: Random) -> None:
    by = factor(rng)
    script.body(_RETURNED, lambda found: f"({found[1]}, torch.mul({found[2]}, {by}), ")


@code("an output of the code taken one step too early", cases(".ts", "sequence", readout="last"))
def _(script: Script, rng: Random) -> None:
    before = "torch.select(torch.unflatten({}, 0, [timesteps, -1]), 0, -2)"
    script.body(r'_\d\((\w+), "last", timesteps, \)', lambda found: before.format(found[1]), rng.choice([0, 1]))


def another_readout(name: str, on: tuple[Case, ...]) -> None:
    """Register damage to how one of several outputs is read out, of which the artifact says what is right."""

    def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
        sound = workbench.folded(case)
        which, readout = rng.randrange(3), rng.choice([each for each in READOUTS if each not in (case.readout, "none")])
        outputs = [(output, readout if i == which else how) for i, (output, how) in enumerate(sound.contract.outputs)]
        made = encoded(replace(sound, contract=replace(sound.contract, outputs=tuple(outputs))), case)
        if case.suffix == ".onnx":
            told, other = Graph(case, artifact), Graph(case, made)
            other.set_metadata({**other.metadata(), "contract": told.metadata()["contract"]})
            return other.model.SerializeToString(deterministic=True)
        contract = json.loads(Script(case, artifact).records[f"extra/{METADATA_FILE}"])["contract"]
        script = Script(case, made)
        script.metadata(lambda held: held.update(contract=contract))
        return script.encoded()

    register("outputs", name, damage, on, 2)


another_readout("one of several outputs read out otherwise", (*cases(".ts", "sequence"), *cases(".onnx", "sequence")[:1]))
