"""Damage to operators between neurons: to what they are told, and to norms over each sample, which stay in the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

import torch
from torch import fx

from snnconv.ir.program import SpikingProgram
from tests.verify.damage import edits
from tests.verify.damage.edits import ATEN, behind, calls, factor, with_argument, with_constant
from tests.verify.damage.mechanisms import ATTENTION, KEPT

Change = Callable[[fx.Graph, fx.Node, Random], None]


def call(name: str, networks: Iterable[str], operator: str, mutants: int = 4) -> Callable[[Change], Change]:
    """Register a change of a call of an operator."""

    def add(change: Change) -> Change:
        def edit(g: fx.Graph, rng: Random) -> None:
            change(g, rng.choice(calls(g, operator)), rng)

        edits.graph("operators", name, networks, mutants)(edit)
        return change

    return add


def argument(name: str, network: str, operator: str, at: int, *others: Any) -> None:
    """Register another argument of an operator."""

    @call(name, (network,), operator)
    def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
        with_argument(node, at, rng.choice(others))


def another(name: str, network: str, operator: str, target: Any) -> None:
    """Register another operator in the place of one."""

    @call(name, (network,), operator)
    def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
        node.target = target


argument("lower bound of a clamp", "clamp of a map", "clamp", 1, -0.1, -0.21, None)
argument("upper bound of a clamp", "clamp of a map", "clamp", 2, 0.5, 0.39, None)
argument("bound of a clip", "clip of a map", "clip", 2, 0.31, 0.29)
argument("corners of an upsampling", "bilinear up of a map", "upsample_bilinear2d", 2, True)
argument("corners of an aligned upsampling", "bilinear aligned of a map", "upsample_bilinear2d", 2, False)
another("mode of an upsampling", "bilinear up of a map", "upsample_bilinear2d", ATEN.upsample_bicubic2d.vec)
another("exact for nearest upsampling", "nearest up of a map", "upsample_nearest2d", ATEN._upsample_nearest_exact2d.vec)
argument("another product in an einsum", "einsum of a map", "einsum", 0, "bchw,bdwh->bcd", "bchw,bdhw->bdc")
argument("axis of a softmax", "Softmax(dim=1) of a map", "softmax", 1, 2, 3)
argument("slope of a leaky rectifier", "LeakyReLU(negative_slope=0.2) of a map", "leaky_relu", 1, 0.21, 0.0)
another("plain rectifier for a smooth one", "GELU(approximate='none') of a map", "gelu", ATEN.relu.default)
argument("bound of a comparison", "greater of a map", "gt", 1, 0.11, 0.0)
another("less for greater", "greater of a map", "gt", ATEN.lt.Scalar)
another("less for at most", "at most of a map", "le", ATEN.gt.Scalar)
argument("shift of a roll", "roll of a map", "roll", 1, [-1, 1], [1, 1], [0, -1])
argument("axis of a cumulated sum", "cumsum of a map", "cumsum", 1, 1, 3)
another("least for largest", "maximum of a map", "maximum", ATEN.minimum.default)
another("least value for the largest", "amax of a map", "amax", ATEN.amin.default)


@call("branches of a choice exchanged", ("where of a map",), "where")
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    condition, a, b = node.args
    node.args = (condition, b, a)


@call("pixels shuffled in another order", ("PixelShuffle(upscale_factor=2) of a map",), "pixel_shuffle")
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    behind(g, node, ATEN.flip.default, [rng.choice([2, 3])])


@call("other elements selected", ("index select of a map",), "index_select")
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    behind(g, node, ATEN.roll.default, [rng.choice([1, 2])], [1])


@call("product transposed", ("matmul of a map", "attention"), "matmul", 8)
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    with g.inserting_before(node):
        turned = g.call_function(ATEN.transpose.int, (node.args[0], -1, -2))
    square = node.args[0].meta["val"].shape[-1] == node.args[0].meta["val"].shape[-2]
    if square:
        node.args = (turned, node.args[1])
    else:
        behind(g, node, ATEN.flip.default, [-1])


@call("scale of an attention", ("scaled attention of a tokens", "attention of a tokens"), "scaled_dot_product_attention", 6)
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    node.kwargs = {**node.kwargs, "scale": (node.kwargs.get("scale") or 8**-0.5) * factor(rng)}


@call(
    "attention to what comes later too, or no more",
    ("causal attention of a tokens", "attention of a tokens"),
    "scaled_dot_product_attention",
    6,
)
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    q, k, v, *rest = node.args
    node.args = (q, k, v, None, 0.0, not (len(rest) > 2 and rest[2]))


@call(
    "keys and values exchanged or turned",
    ("attention of a tokens", "scaled attention of a tokens"),
    "scaled_dot_product_attention",
    6,
)
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    at = rng.choice([0, 1, 2])
    with g.inserting_before(node):
        turned = g.call_function(ATEN.flip.default, (node.args[at], [rng.choice([2, 3]) if at != 1 else 3]))
    with_argument(node, at, turned)


@call("scale of a spiking attention", ATTENTION, "mul")
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    with_argument(node, 1, node.args[1] * factor(rng))


@call("query exchanged with key or value", ATTENTION, "matmul")
def _(g: fx.Graph, node: fx.Node, rng: Random) -> None:
    query, key = calls(g, "matmul")[0].args
    value = calls(g, "matmul")[1].args[1]
    a, b = rng.choice([(query, value), (query, key.args[0])])
    users = {node: list(node.users) for node in (a, b)}
    for user in users[a]:
        user.replace_input_with(a, b)
    for user in users[b]:
        user.replace_input_with(b, a)


# Norms over each sample


EPS = {"layer_norm": 4, "group_norm": 4, "instance_norm": 7, "rms_norm": 3}
norm, constant = partial(edits.graph, "kept norms"), partial(edits.program, "kept norms")


def the_norm(g: fx.Graph) -> fx.Node:
    """The norm that was kept."""
    (found,) = calls(g, *EPS)
    return found


@norm("eps", KEPT, 8)
def _(g: fx.Graph, rng: Random) -> None:
    node = the_norm(g)
    with_argument(node, EPS[node.target._opname], rng.choice([1e-2, 1e-3, 0.1]))


@norm("left out", KEPT, 6)
def _(g: fx.Graph, rng: Random) -> None:
    node = the_norm(g)
    node.replace_all_uses_with(node.args[0])


@norm("over other axes", ("kept layer", "kept group", "kept instance"), 6)
def _(g: fx.Graph, rng: Random) -> None:
    node = the_norm(g)
    x, rest = node.args[0], node.args[1:]
    kind = node.target._opname
    weight, bias = rest[1:3] if kind in ("layer_norm", "group_norm") else rest[:2]
    groups = {"layer_norm": (2, 4), "group_norm": (1, 4), "instance_norm": (1, 2)}[kind]
    with g.inserting_before(node):
        plain = g.call_function(ATEN.group_norm.default, (x, rng.choice(groups), None, None, 1e-5))
        if kind != "layer_norm":
            weight, bias = (g.call_function(ATEN.reshape.default, (value, [-1, 1, 1])) for value in (weight, bias))
        scaled = g.call_function(ATEN.mul.Tensor, (plain, weight))
        added = g.call_function(ATEN.add.Tensor, (scaled, bias))
    node.replace_all_uses_with(added)


@norm("over the samples too", KEPT, 6)
def _(g: fx.Graph, rng: Random) -> None:
    node = the_norm(g)
    with g.inserting_before(node):
        mean = g.call_function(ATEN.mean.dim, (node.args[0], [0], True))
        mixed = g.call_function(ATEN.lerp.Scalar, (node.args[0], mean, rng.uniform(0.01, 0.3)))
    with_argument(node, 0, mixed)


@constant("weight or bias", KEPT, 8)
def _(folded: SpikingProgram, rng: Random) -> SpikingProgram:
    node = the_norm(folded.graph.graph)
    held = [str(a.target) for a in node.args if isinstance(a, fx.Node) and a.op == "get_attr"]

    def change(value: torch.Tensor) -> torch.Tensor:
        value.view(-1)[rng.randrange(value.numel())] += rng.choice([-1, 1]) * rng.uniform(0.2, 0.5)
        return value

    return with_constant(folded, rng.choice(held), change)
