"""Wrong folds, and damage to folded programs: to their neurons and to their graphs.

A wrong fold is a sound fold of a network that was damaged before: what a bug in a fold pass would leave behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.fold import fold
from snnconv.ir.neuron import MembraneNorm, Neuron
from snnconv.ir.program import BATCH_NORM, SpikingProgram, neuron_calls, put, share, tensors
from tests.verify.damage import but, cases, register, workbench
from tests.verify.damage.workbench import Case

PT2 = cases(".pt2")
FOLDS = (*PT2, *cases(".ts")[::2], *cases(".ts", "step"))
NORMED = but(FOLDS, "plain")
LAYERS = ("act1", "act2", "act3")
_ATEN = torch.ops.aten

Wrong = Callable[[SpikingProgram, Random], SpikingProgram]


def wrong_fold(name: str, on: tuple[Case, ...] = FOLDS, mutants: int = 2, **options: Any) -> Callable[[Wrong], Wrong]:
    """Register damage to a program before it is folded."""

    def add(change: Wrong) -> Wrong:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            return encoded(fold(change(workbench.source(case).program, rng)), case)

        register("wrong folds", name, damage, on, mutants, **options)
        return change

    return add


def folded(name: str, on: tuple[Case, ...] = PT2, mutants: int = 2, **options: Any) -> Callable[[Wrong], Wrong]:
    """Register damage to a folded program."""

    def add(change: Wrong) -> Wrong:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            return encoded(change(workbench.folded(case), rng), case)

        register("programs", name, damage, on, mutants, **options)
        return change

    return add


def encoded(program: SpikingProgram, case: Case) -> bytes:
    def write(path: Path) -> None:
        workbench.encode(program, case, path)

    return workbench.via_file(f"damaged{case.suffix}", write)


def with_neuron(program: SpikingProgram, layer: str, **changes: Any) -> SpikingProgram:
    return replace(program, neurons={**program.neurons, layer: replace(program.neurons[layer], **changes)})


def factor(rng: Random) -> float:
    return 1 + rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 5)


# Wrong folds of batch norms


def norms(program: SpikingProgram) -> list[fx.Node]:
    return [node for node in program.graph.graph.nodes if node.target is BATCH_NORM]


def with_statistics(program: SpikingProgram, which: int, leaf: str, change: Callable[[Tensor], Tensor]) -> SpikingProgram:
    """Change the gamma, beta, mean or var of one batch norm."""
    graph = share(program.graph)
    path = str(norms(program)[which].args[1 + ("gamma", "beta", "mean", "var").index(leaf)].target)
    put(graph, path, change(tensors(graph)[path]))
    return replace(program, graph=graph)


@wrong_fold("eps of a batch norm forgotten")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_eps(program, rng.randrange(3), 0.0)


def with_eps(program: SpikingProgram, which: int, eps: float) -> SpikingProgram:
    graph = share(program.graph)
    node = [node for node in graph.graph.nodes if node.target is BATCH_NORM][which]
    node.args = (*node.args[:7], eps, *node.args[8:])
    return replace(program, graph=graph)


@wrong_fold("another eps of a batch norm")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_eps(program, rng.randrange(3), rng.choice([1e-3, 1e-6, 2e-5]))


@wrong_fold("variance of a batch norm taken for its root")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_statistics(program, rng.randrange(3), "var", torch.square)


@wrong_fold("sign of a batch norm's gamma dropped")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_statistics(program, rng.randrange(3), "gamma", torch.abs)


@wrong_fold("gamma of a batch norm dropped")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_statistics(program, rng.randrange(3), "gamma", torch.ones_like)


@wrong_fold("beta of a batch norm dropped")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_statistics(program, rng.randrange(3), "beta", torch.zeros_like)


@wrong_fold("mean of a batch norm not subtracted")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_statistics(program, rng.randrange(3), "mean", torch.zeros_like)


@wrong_fold("statistics of the next channel")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_statistics(program, rng.randrange(3), rng.choice(["gamma", "beta", "mean", "var"]), lambda t: t.roll(1))


@wrong_fold("a batch norm left out")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    graph = share(program.graph)
    node = [node for node in graph.graph.nodes if node.target is BATCH_NORM][rng.randrange(3)]
    node.replace_all_uses_with(node.args[0])
    graph.graph.erase_node(node)
    return replace(program, graph=graph)


@wrong_fold("the norm of the sum on one branch")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    graph = share(program.graph)
    norm = [node for node in graph.graph.nodes if node.target is BATCH_NORM][2]
    total = norm.args[0]
    convolution, spikes = total.args
    norm.replace_all_uses_with(total)
    norm.args = ((convolution, spikes)[branch := rng.randrange(2)], *norm.args[1:])
    total.args = (norm, spikes) if branch == 0 else (convolution, norm)
    norm.append(total)
    return replace(program, graph=graph)


# Wrong folds of membrane norms


def with_norm(program: SpikingProgram, rng: Random, change: Callable[[MembraneNorm], MembraneNorm]) -> SpikingProgram:
    """Change the membrane norm of one of the layers that have gamma and beta."""
    names = [name for name, neuron in program.neurons.items() if neuron.norm is not None and neuron.norm.gamma is not None]
    layer = rng.choice(names)
    norm = program.neurons[layer].norm
    return program if norm is None else with_neuron(program, layer, norm=change(norm))


@wrong_fold("eps of a membrane norm forgotten", NORMED, quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_norm(program, rng, lambda norm: replace(norm, eps=0.0))


@wrong_fold("variance of a membrane norm taken for its root", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_norm(program, rng, lambda norm: replace(norm, var=norm.var.square()))


@wrong_fold("sign of a membrane norm's gamma dropped", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_norm(program, rng, lambda norm: replace(norm, gamma=None if norm.gamma is None else norm.gamma.abs()))


@wrong_fold("affine part of a membrane norm dropped", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    changes: list[dict[str, Any]] = [{"gamma": None, "beta": None}, {"beta": None}]
    chosen = rng.choice(changes)
    return with_norm(program, rng, lambda norm: replace(norm, **chosen))


@wrong_fold("mean of a membrane norm not subtracted", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_norm(program, rng, lambda norm: replace(norm, mean=torch.zeros_like(norm.mean)))


@wrong_fold("a membrane norm left out", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_neuron(program, rng.choice(LAYERS), norm=None)


@wrong_fold("membrane norms of two layers exchanged", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    a, b = rng.sample(LAYERS, 2)
    changed = with_neuron(program, a, norm=program.neurons[b].norm)
    return with_neuron(changed, b, norm=program.neurons[a].norm)


@wrong_fold("strictness before folding", FOLDS, quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    layer = rng.choice(LAYERS)
    return with_neuron(program, layer, strict=not program.neurons[layer].strict)


@wrong_fold("threshold before folding")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    layer = rng.choice(LAYERS)
    return with_neuron(program, layer, threshold=program.neurons[layer].threshold * factor(rng))


# Wrong thresholds, of which a bug in the membrane norm's own pass would be the reason


@folded("thresholds by the closed form in float32", NORMED, 4, quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return closed_form(program, rng, eps=True, dtype=torch.float32)


@folded("thresholds by the closed form in float64", NORMED, quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return closed_form(program, rng, eps=True, dtype=torch.float64)


@folded("thresholds by the closed form of the paper, without eps", NORMED, quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return closed_form(program, rng, eps=False, dtype=torch.float64)


def closed_form(program: SpikingProgram, rng: Random, eps: bool, dtype: torch.dtype) -> SpikingProgram:
    """`(theta - beta) * sqrt(var + eps) / gamma + mean` in place of the bisected thresholds that are finite."""
    layer = rng.choice([name for name in LAYERS if name in program.proofs])
    proof, neuron = program.proofs[layer], program.neurons[layer]
    norm = proof.norm

    def laid_out(values: Tensor | None, missing: float) -> Tensor:
        values = torch.full_like(norm.mean, missing) if values is None else values
        return values.view(neuron.threshold.shape).to(dtype)

    root = (laid_out(norm.var, 1) + (norm.eps if eps else 0.0)).sqrt()
    closed = (proof.threshold.to(dtype) - laid_out(norm.beta, 0)) * root / laid_out(norm.gamma, 1) + laid_out(norm.mean, 0)
    return with_neuron(program, layer, threshold=torch.where(neuron.threshold.isfinite(), closed.float(), neuron.threshold))


@folded("inverted thresholds moved by one ulp", NORMED, quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    """As if `<` had been written as `not >`, with the threshold where it was."""
    layer = rng.choice(LAYERS[:2])
    neuron = program.neurons[layer]
    assert neuron.inverted is not None
    moved = torch.nextafter(neuron.threshold, torch.tensor(rng.choice([-math.inf, math.inf])))
    return with_neuron(program, layer, threshold=torch.where(neuron.inverted, moved, neuron.threshold))


@folded("inverted channels forgotten", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_neuron(program, rng.choice(LAYERS[:2]), inverted=None)


@folded("all channels inverted", FOLDS)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    layer = rng.choice(LAYERS)
    neuron = program.neurons[layer]
    none = torch.zeros_like(neuron.threshold, dtype=torch.bool)
    return with_neuron(program, layer, inverted=~(none if neuron.inverted is None else neuron.inverted))


@folded("norm folded into the current", NORMED)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    """As if the norm stood in front of the neuron instead of on its potential."""
    layer = rng.choice([name for name in LAYERS if name in program.proofs])
    neuron, norm, threshold = program.neurons[layer], program.proofs[layer].norm, program.proofs[layer].threshold
    scale = (norm.var + norm.eps).rsqrt() * (1 if norm.gamma is None else norm.gamma)
    shift = (0 if norm.beta is None else norm.beta) - norm.mean * scale
    gain, offset = (t.reshape(-1, 1, 1) if t.dim() == 1 else t for t in (scale, shift))
    if neuron.gain is not None and neuron.offset is not None:
        gain, offset = neuron.gain * gain, neuron.offset * gain + offset
    return with_neuron(program, layer, gain=gain, offset=offset, inverted=None, threshold=threshold.expand(()).clone())


@folded("soft reset by the folded threshold", tuple(case for case in FOLDS if case.network == "per_element"))
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    neuron = program.neurons["act1"]
    amount = torch.where(neuron.threshold.isfinite(), neuron.threshold, 0.0)
    return with_neuron(program, "act1", reset=amount * neuron.leak if rng.random() < 0.5 else amount)


# Neurons


@folded("strictness", quiet=True)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    layer = rng.choice(LAYERS)
    return with_neuron(program, layer, strict=not program.neurons[layer].strict)


@folded("hard reset made soft, soft made hard", FOLDS)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    layer = rng.choice(LAYERS)
    neuron = program.neurons[layer]
    return with_neuron(
        program, layer, soft=not neuron.soft, reset=neuron.reset if neuron.soft else neuron.reset + rng.uniform(0.1, 1)
    )


@folded("what is carried is shifted")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_neuron(program, rng.choice(LAYERS), shift=torch.tensor(rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 5)))


@folded("a gain of its own")
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_neuron(program, rng.choice(LAYERS), gain=torch.tensor(factor(rng)))


@folded("gain or offset left out", FOLDS)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    return with_neuron(program, "act3", **{rng.choice(["gain", "offset"]): None})


@folded("neurons of two layers exchanged", FOLDS)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    a, b = rng.sample(LAYERS, 2)
    changed: dict[str, Neuron] = {**program.neurons, a: program.neurons[b], b: program.neurons[a]}
    return replace(program, neurons=changed)


@folded("another contract", mutants=4)
def _(program: SpikingProgram, rng: Random) -> SpikingProgram:
    contract = program.contract
    wrong = {
        "timesteps": contract.timesteps + rng.choice([-1, 1]),
        "event": not contract.event,
        "readout": rng.choice([name for name in ("mean", "sum", "last", "max", "none") if name != contract.readout]),
    }
    key = rng.choice(sorted(wrong))
    return replace(program, contract=replace(contract, **{key: wrong[key]}))


# Graph


Edit = Callable[[fx.Graph, Random], None]


def graph(name: str, mutants: int = 2, **options: Any) -> Callable[[Edit], Edit]:
    """Register an edit of the graph of a folded program."""

    def add(edit: Edit) -> Edit:
        def change(program: SpikingProgram, rng: Random) -> SpikingProgram:
            edited = share(program.graph)
            edit(edited.graph, rng)
            edited.graph.eliminate_dead_code()
            edited.graph.lint()
            return replace(program, graph=share(edited))

        folded(name, PT2, mutants, **options)(change)
        return edit

    return add


def convolutions(g: fx.Graph) -> list[fx.Node]:
    return g.find_nodes(op="call_function", target=_ATEN.conv2d.default)


def the(g: fx.Graph, target: Any) -> fx.Node:
    return next(iter(g.find_nodes(op="call_function", target=target)))


def behind(g: fx.Graph, node: fx.Node, target: Any, *args: Any) -> None:
    """All who read `node` find `target(node, *args)`."""
    with g.inserting_after(node):
        made = g.call_function(target, (node, *args))
    node.replace_all_uses_with(made, lambda user: user is not made)


def current(g: fx.Graph, rng: Random) -> fx.Node:
    return rng.choice([*convolutions(g), the(g, _ATEN.add.Tensor), the(g, _ATEN.linear.default)])


@graph("residual connection dropped, scaled or subtracted")
def _(g: fx.Graph, rng: Random) -> None:
    node = the(g, _ATEN.add.Tensor)
    change = rng.choice(["first", "second", "scaled", "subtracted"])
    if change == "scaled":
        node.kwargs = {"alpha": factor(rng)}
    elif change == "subtracted":
        node.target = _ATEN.sub.Tensor
    else:
        node.replace_all_uses_with(node.args[change == "second"])


@graph("residual connection from another layer")
def _(g: fx.Graph, rng: Random) -> None:
    node = the(g, _ATEN.add.Tensor)
    node.args = (node.args[0], convolutions(g)[2].args[0])


@graph("padding moved or filled")
def _(g: fx.Graph, rng: Random) -> None:
    node = convolutions(g)[rng.randrange(2)]
    pad = rng.choice([([0, 2, 0, 2], "constant", None), ([1, 1, 1, 1], "replicate", None), ([1, 1, 1, 1], "constant", 0.01)])
    with g.inserting_before(node):
        padded = g.call_function(_ATEN.pad.default, (node.args[0], *pad))
    node.args = (padded, *node.args[1:3], [1, 1], [0, 0])


@graph("groups")
def _(g: fx.Graph, rng: Random) -> None:
    node = convolutions(g)[1]
    groups = rng.choice([2, 3])
    with g.inserting_before(node):
        cut = g.call_function(_ATEN.slice.Tensor, (node.args[1], 1, 0, 6 // groups))
    node.args = (node.args[0], cut, node.args[2], [1, 1], [1, 1], [1, 1], groups)


@graph("layer twice")
def _(g: fx.Graph, rng: Random) -> None:
    node = convolutions(g)[rng.choice([1, 2])]
    behind(g, node, node.target, *node.args[1:])


@graph("layer left out")
def _(g: fx.Graph, rng: Random) -> None:
    node = convolutions(g)[rng.choice([1, 2])]
    node.replace_all_uses_with(node.args[0])


@graph("kernel transposed or turned in the graph")
def _(g: fx.Graph, rng: Random) -> None:
    node = convolutions(g)[rng.randrange(2)]
    target, args = rng.choice([(_ATEN.transpose.int, (2, 3)), (_ATEN.flip.default, ([2, 3],)), (_ATEN.flip.default, ([2],))])
    with g.inserting_before(node):
        turned = g.call_function(target, (node.args[1], *args))
    node.args = (node.args[0], turned, *node.args[2:])


@graph("pooling of another kind")
def _(g: fx.Graph, rng: Random) -> None:
    the(g, _ATEN.avg_pool2d.default).target = _ATEN.max_pool2d.default


@graph("a factor on a current or on the output", 4)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, current(g, rng), _ATEN.mul.Tensor, factor(rng))


@graph("a factor of 1.00001", 3, quiet=True)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, current(g, rng), _ATEN.mul.Tensor, 1 + rng.choice([-1, 1]) * 1e-5)


@graph("something small added", 3)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, current(g, rng), _ATEN.add.Tensor, rng.choice([-1, 1]) * 10 ** -rng.uniform(2, 5))


@graph("half precision on the way", 3)
def _(g: fx.Graph, rng: Random) -> None:
    node = current(g, rng)
    behind(g, node, _ATEN.to.dtype, rng.choice([torch.float16, torch.bfloat16]))
    behind(g, next(iter(node.users)), _ATEN.to.dtype, torch.float32)


@graph("samples mixed", 3)
def _(g: fx.Graph, rng: Random) -> None:
    target, args = rng.choice([(_ATEN.flip.default, ([0],)), (_ATEN.roll.default, ([1], [0]))])
    behind(g, current(g, rng), target, *args)


@graph("classes permuted", quiet=True)
def _(g: fx.Graph, rng: Random) -> None:
    target, args = rng.choice([(_ATEN.flip.default, ([1],)), (_ATEN.roll.default, ([rng.choice([1, 2])], [1]))])
    behind(g, the(g, _ATEN.linear.default), target, *args)


@graph("flattened in another order")
def _(g: fx.Graph, rng: Random) -> None:
    node = the(g, _ATEN.avg_pool2d.default)
    behind(g, node, _ATEN.permute.default, rng.choice([[0, 1, 3, 2], [0, 3, 2, 1]]))


@graph("negative inputs cut off", quiet=True)
def _(g: fx.Graph, rng: Random) -> None:
    behind(g, next(iter(g.find_nodes(op="placeholder"))), rng.choice([_ATEN.relu.default, _ATEN.abs.default]))


@graph("two states exchanged")
def _(g: fx.Graph, rng: Random) -> None:
    a, b = rng.sample(neuron_calls(g), 2)
    a.args, b.args = (a.args[0], b.args[1], a.args[2]), (b.args[0], a.args[1], b.args[2])


@graph("two next states exchanged")
def _(g: fx.Graph, rng: Random) -> None:
    output = next(iter(g.find_nodes(op="output")))
    states = list(output.args[0])
    a, b = rng.sample(range(1, 4), 2)
    states[a], states[b] = states[b], states[a]
    output.args = (tuple(states),)


@graph("next state is the old one")
def _(g: fx.Graph, rng: Random) -> None:
    output = next(iter(g.find_nodes(op="output")))
    states = list(output.args[0])
    at = rng.randrange(1, 4)
    states[at] = neuron_calls(g)[at - 1].args[1]
    output.args = (tuple(states),)
