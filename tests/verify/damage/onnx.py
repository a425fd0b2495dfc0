"""Damage to the graph of an ONNX artifact: every constant stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from snnconv.artifact.onnx_file import METADATA_KEY
from tests.verify.damage import but, cases, register, workbench
from tests.verify.damage.workbench import Case

SEQUENCE, STEP, BOTH = cases(".onnx", "sequence"), cases(".onnx", "step"), cases(".onnx")
NORMED = but(BOTH, "plain")
LAYERS = ("act1", "act2", "act3")
CONVOLUTIONS = ("conv1", "conv2", "conv3")


class Graph:
    """An ONNX graph to damage."""

    def __init__(self, case: Case, artifact: bytes) -> None:
        self.case, self.model = case, onnx.load_from_string(artifact)
        self.graph = self.model.graph
        self.added = 0

    def maker(self, name: str) -> NodeProto:
        """The node that makes a value."""
        return next(node for node in self.graph.node if name in node.output)

    def readers(self, name: str) -> list[tuple[NodeProto, int]]:
        """The nodes that read a value, and as which of their inputs."""
        return [(node, i) for node in self.graph.node for i, read in enumerate(node.input) if read == name]

    def nodes(self, *kinds: str) -> list[NodeProto]:
        return [node for node in self.graph.node if node.op_type in kinds]

    def steps(self, layer: str) -> range:
        """The steps of a layer that the graph tells apart."""
        return range(workbench.TIMESTEPS if self.case.form == "sequence" else 1)

    def name(self, layer: str, kind: str, step: int = 0) -> str:
        """The potential or spike of a layer at a step."""
        return f"{layer}.{kind}.{step}" if self.case.form == "sequence" else f"{layer}.{kind}"

    def compare(self, layer: str, step: int) -> NodeProto:
        """The comparison of a layer at a step."""
        node = self.maker(self.name(layer, "spike", step))
        return self.maker(node.input[0]) if node.op_type == "Xor" else node

    def state(self, layer: str, step: int) -> str:
        """What a layer carries from a step to the next."""
        if self.case.form == "step":
            return f"next_state.{layer}"
        return str(self.maker(self.name(layer, "potential", step + 1)).input[0])

    def hold(self, value: Any, dtype: Any = np.float32) -> str:
        """A new constant."""
        name = self._fresh()
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def insert(self, op: str, inputs: Sequence[str], before: NodeProto | None = None, output: str = "", **attributes: Any) -> str:
        """A new node, in front of `before` or at the end of what makes its inputs; returns its output."""
        made = helper.make_node(op, inputs, [output or self._fresh()], **attributes)
        nodes = list(self.graph.node)
        at = 1 + max((i for i, node in enumerate(nodes) if set(node.output) & set(inputs)), default=-1)
        if before is not None:
            at = nodes.index(before)
        self.graph.node.insert(at, made)
        return str(made.output[0])

    def behind(self, name: str, change: Callable[[str], str]) -> None:
        """Everyone who reads `name`, watchers and outputs included, finds what `change` makes of it."""
        maker = self.maker(name)
        sound = self._fresh()
        maker.output[list(maker.output).index(name)] = sound
        for node, i in self.readers(name):
            node.input[i] = sound
        readers = self.readers(sound)
        changed = change(sound)
        made = self.maker(changed)
        made.output[list(made.output).index(changed)] = name
        for node, i in readers:
            node.input[i] = name

    def beside(self, node: NodeProto, i: int, change: Callable[[str], str]) -> None:
        """One reader finds what `change` makes of its input `i`; all others find the sound value."""
        node.input[i] = change(node.input[i])

    def metadata(self) -> dict[str, Any]:
        return json.loads(next(p.value for p in self.model.metadata_props if p.key == METADATA_KEY))

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        next(p for p in self.model.metadata_props if p.key == METADATA_KEY).value = json.dumps(metadata)

    def _fresh(self) -> str:
        self.added += 1
        return f"damage.{self.added}"


Edit = Callable[[Graph, Random], None]


def graph(name: str, on: tuple[Case, ...] = BOTH, mutants: int = 2, **options: Any) -> Callable[[Edit], Edit]:
    """Register an edit of the graph."""

    def add(edit: Edit) -> Edit:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            edited = Graph(case, artifact)
            edit(edited, rng)
            return edited.model.SerializeToString(deterministic=True)

        register("ONNX graphs", name, damage, on, mutants, **options)
        return edit

    return add


def attribute(node: NodeProto, name: str) -> onnx.AttributeProto:
    return next(a for a in node.attribute if a.name == name)


def factor(rng: Random) -> float:
    """One, off by something between gross and just beyond rounding."""
    return 1 + rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 5)


# Comparison


@graph("strictness of a layer", quiet=True)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    for step in g.steps(layer):
        other_strictness(g.compare(layer, step))


@graph("strictness at one step", SEQUENCE, 12, quiet=True)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    other_strictness(g.compare(layer, rng.choice(g.steps(layer))))


def other_strictness(node: NodeProto) -> None:
    node.op_type = {"Greater": "GreaterOrEqual", "GreaterOrEqual": "Greater"}[node.op_type]


@graph("fires below instead of above")
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    node = g.compare(layer, rng.choice(g.steps(layer)))
    node.op_type = {"Greater": "Less", "GreaterOrEqual": "LessOrEqual"}[node.op_type]


@graph("inverted mask forgotten", NORMED)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS[:2])
    node = g.maker(g.name(layer, "spike", rng.choice(g.steps(layer))))
    node.op_type = "Identity"
    del node.input[1]


@graph("thresholds rounded on the way", NORMED)
def _(g: Graph, rng: Random) -> None:
    through_half(g, rng.choice(LAYERS), rng)


def through_half(g: Graph, layer: str, rng: Random) -> None:
    half = rng.choice([TensorProto.FLOAT16, TensorProto.BFLOAT16])
    node = g.compare(layer, rng.choice(g.steps(layer)))
    g.beside(node, 1, lambda name: there_and_back(g, name, half))


def there_and_back(g: Graph, name: str, half: int) -> str:
    return g.insert("Cast", [g.insert("Cast", [name], to=half)], to=TensorProto.FLOAT)


@graph("an epsilon in the comparison", mutants=8)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    node = g.compare(layer, rng.choice(g.steps(layer)))
    g.beside(node, 1, lambda name: g.insert("Add", [name, g.hold(rng.choice([-1, 1]) * 10 ** -rng.uniform(2, 7))]))


@graph("a copy of the thresholds one ulp off", NORMED, quiet=True)
def _(g: Graph, rng: Random) -> None:
    copy_off(g, f"{rng.choice(LAYERS)}.threshold", rng)


@graph("a copy of another constant one ulp off", mutants=5, quiet=True, rounding=0.0)
def _(g: Graph, rng: Random) -> None:
    leaves = (".leak", ".gain", ".offset", ".weight", ".bias")
    copy_off(g, rng.choice([t.name for t in g.graph.initializer if t.name.endswith(leaves)]), rng)


def copy_off(g: Graph, name: str, rng: Random) -> None:
    """The artifact holds the sound constant, and computes with another."""
    value = numpy_helper.to_array(next(t for t in g.graph.initializer if t.name == name)).copy()
    finite = np.argwhere(np.isfinite(value) & (np.abs(value) > 1e-3)).tolist()
    for at in map(tuple, rng.sample(finite, max(1, len(finite) // 2))):
        value[at] = np.nextafter(value[at], np.float32(np.inf))
    readers = g.readers(name)
    copied = g.hold(value)
    for node, i in readers:
        node.input[i] = copied


@graph("a sound comparison is shown, another is used", SEQUENCE, 4, quiet=True)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    step = rng.choice(g.steps(layer))
    node = g.compare(layer, step)
    shown = g.maker(g.name(layer, "spike", step))
    kind = {"Greater": "GreaterOrEqual", "GreaterOrEqual": "Greater"}[node.op_type]
    used = g.insert(kind, list(node.input))
    if shown is not node:
        used = g.insert("Xor", [used, shown.input[1]])
    for reader, i in g.readers(shown.output[0]):
        reader.input[i] = used


# State


@graph("leak applied twice")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Mul") if node.input[1].endswith(".leak")])
    g.beside(node, 0, lambda name: g.insert("Mul", [name, node.input[1]], before=node))


@graph("leak forgotten at one step")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Mul") if node.input[1].endswith(".leak")])
    node.op_type = "Identity"
    del node.input[1]


@graph("leak applied to the reset as well", cases(".onnx", network="per_element"))
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Mul") if node.input[1].endswith(".leak")])
    carry = next(other for other in carrying(g) if node.output[0] in other.input)
    leak = node.input.pop()
    node.op_type = "Identity"
    g.behind(carry.output[0], lambda name: g.insert("Mul", [name, leak]))


def carrying(g: Graph) -> list[NodeProto]:
    """The nodes that choose what is carried: `Where(fired, after a spike, else)`."""
    return g.nodes("Where")


@graph("hard reset made soft, soft made hard")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice(carrying(g))
    _, reset, kept = node.input
    if reset.endswith(".reset"):
        node.input[1] = g.insert("Sub", [kept, g.hold(rng.uniform(0.1, 1))])
    else:
        node.input[1] = g.maker(reset).input[1]


@graph("soft reset by the folded threshold", cases(".onnx", network="per_element"))
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Sub") if node.input[1] == "act1.reset"])
    node.input[1] = "act1.threshold"


@graph("reset to another value")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.graph.node if any(name.endswith(".reset") for name in node.input)])
    at = next(i for i, name in enumerate(node.input) if name.endswith(".reset"))
    g.beside(node, at, lambda name: g.insert("Add", [name, g.hold(rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 4))]))


@graph("no reset")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice(carrying(g))
    node.input[1] = node.input[2]


@graph("another reset where nothing fires", NORMED, 6, quiet=True)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice([name for name in LAYERS if bool(workbench.silent(g.case, name).any())])
    quiet = workbench.silent(g.case, layer).numpy().astype(np.float32)
    amount = g.hold(quiet * np.float32(rng.uniform(0.1, 1)))
    node = rng.choice([node for node in carrying(g) if node.input[0].startswith(f"{layer}.spike")])
    g.beside(node, 1, lambda name: g.insert("Add", [name, amount]))


@graph("state not carried at one step", BOTH)
def _(g: Graph, rng: Random) -> None:
    node = rng.choice(charging(g))
    node.op_type = "Identity"
    del node.input[0]


def charging(g: Graph) -> list[NodeProto]:
    """The nodes that add a state to a current."""
    if g.case.form == "step":
        return [g.maker(g.name(layer, "potential")) for layer in LAYERS]
    return [g.maker(g.name(layer, "potential", step)) for layer in LAYERS for step in g.steps(layer)[1:]]


@graph("half of the state carried")
def _(g: Graph, rng: Random) -> None:
    g.beside(rng.choice(charging(g)), 0, lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("state of another layer")
def _(g: Graph, rng: Random) -> None:
    first, second = sorted(rng.sample(range(3), 2))
    if g.case.form == "step":
        pair = (first, second) if rng.random() < 0.5 else (second, first)
        g.maker(f"{LAYERS[pair[0]]}.potential").input[0] = f"state.{LAYERS[pair[1]]}"
        return
    step = rng.choice(g.steps("act1")[:-1])
    g.maker(g.name(LAYERS[second], "potential", step + 1)).input[0] = g.state(LAYERS[first], step)


@graph("state of the step before", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    g.maker(g.name(layer, "potential", 2)).input[0] = g.state(layer, 0)


@graph("state of the sample before", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    g.beside(rng.choice(charging(g)), 0, lambda name: rolled(g, name))


def rolled(g: Graph, name: str) -> str:
    """The values of sample i - 1 at sample i."""
    axes, one = g.hold([0], np.int64), g.hold([1], np.int64)
    last = g.insert("Slice", [name, g.hold([-1], np.int64), g.hold([2**31], np.int64), axes, one])
    rest = g.insert("Slice", [name, g.hold([0], np.int64), g.hold([-1], np.int64), axes, one])
    return g.insert("Concat", [last, rest], axis=0)


# Time


def joined(g: Graph, layer: str) -> NodeProto:
    return next(node for node in g.nodes("Concat") if node.input[0] == g.name(layer, "spike", 0))


@graph("spikes of two steps exchanged", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    node = joined(g, rng.choice(LAYERS))
    a, b = rng.sample(range(workbench.TIMESTEPS), 2)
    node.input[a], node.input[b] = node.input[b], node.input[a]


@graph("spike of the step before", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    node = joined(g, rng.choice(LAYERS))
    at = rng.randrange(1, workbench.TIMESTEPS)
    node.input[at] = node.input[at - 1]


@graph("a step less in one layer", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    del joined(g, rng.choice(LAYERS)).input[rng.randrange(workbench.TIMESTEPS)]


@graph("currents of two steps exchanged", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    split = rng.choice(g.nodes("Split"))
    a, b = rng.sample(range(1, workbench.TIMESTEPS), 2)
    first, second = g.readers(split.output[a])[0], g.readers(split.output[b])[0]
    g.beside(*first, lambda _: split.output[b])
    g.beside(*second, lambda _: split.output[a])


@graph("current of the step before", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    split = rng.choice(g.nodes("Split"))
    at = rng.randrange(1, workbench.TIMESTEPS)
    for reader in g.readers(split.output[at]):
        g.beside(*reader, lambda _: split.output[at - 1])


@graph("frames in another order", cases(".onnx", "sequence", event=True))
def _(g: Graph, rng: Random) -> None:
    order = g.hold(rng.choice([[1, 0, 2], [2, 1, 0], [0, 0, 1], [0, 1, 1]]), np.int64)
    g.beside(g.readers("x")[0][0], 0, lambda name: g.insert("Gather", [name, order], axis=1))


# Layers


@graph("bias dropped")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice(g.nodes("Conv", "Gemm"))
    del node.input[2]


@graph("padding moved")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Conv") if attribute(node, "pads").ints[0] == 1])
    attribute(node, "pads").ints[:] = rng.choice([[0, 0, 2, 2], [2, 2, 0, 0], [0, 1, 2, 1], [1, 2, 1, 0]])


@graph("padding with other values than zero")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Conv") if attribute(node, "pads").ints[0] == 1])
    attribute(node, "pads").ints[:] = [0, 0, 0, 0]
    pads, mode = g.hold([0, 0, 1, 1, 0, 0, 1, 1], np.int64), rng.choice(["edge", "reflect", "constant"])
    more = [g.hold(10 ** -rng.uniform(1, 3))] if mode == "constant" else []
    g.beside(node, 0, lambda name: g.insert("Pad", [name, pads, *more], mode=mode))


@graph("kernel transposed or turned in the graph")
def _(g: Graph, rng: Random) -> None:
    node = rng.choice([node for node in g.nodes("Conv") if attribute(node, "pads").ints[0] == 1])
    if rng.random() < 0.5:
        g.beside(node, 1, lambda name: g.insert("Transpose", [name], perm=[0, 1, 3, 2]))
    else:
        back = [g.hold(value, np.int64) for value in ([-1, -1], [-(2**31), -(2**31)], [2, 3], [-1, -1])]
        g.beside(node, 1, lambda name: g.insert("Slice", [name, *back]))


@graph("groups", BOTH)
def _(g: Graph, rng: Random) -> None:
    node = g.readers(f"{rng.choice(['conv2', 'conv3'])}.weight")[0][0]
    groups = rng.choice([2, 3, 6])
    attribute(node, "group").i = groups
    cut = [g.hold([value], np.int64) for value in (0, 6 // groups, 1)]
    g.beside(node, 1, lambda name: g.insert("Slice", [name, *cut]))


@graph("layer twice")
def _(g: Graph, rng: Random) -> None:
    node = g.readers(f"{rng.choice(['conv2', 'conv3'])}.weight")[0][0]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    g.beside(node, 0, lambda name: g.insert("Conv", [name, *node.input[1:]], **attributes))


@graph("layer left out", BOTH)
def _(g: Graph, rng: Random) -> None:
    node = g.readers(f"{rng.choice(['conv2', 'conv3'])}.weight")[0][0]
    node.op_type = "Identity"
    del node.input[1:], node.attribute[:]


@graph("weights of another layer", BOTH)
def _(g: Graph, rng: Random) -> None:
    node = g.readers("conv3.weight")[0][0]
    cut = [g.hold(value, np.int64) for value in ([1, 1], [2, 2], [2, 3])]
    node.input[1] = g.insert("Slice", ["conv2.weight", *cut])


def residual(g: Graph) -> tuple[NodeProto, int, int]:
    """The sum of the two branches, and which of its inputs is the convolution, which the spikes."""
    conv = g.readers("conv3.weight")[0][0].output[0]
    node = next(node for node, _ in g.readers(conv) if node.op_type == "Add")
    at = list(node.input).index(conv)
    return node, at, 1 - at


@graph("residual connection dropped", BOTH)
def _(g: Graph, rng: Random) -> None:
    node, _, spikes = residual(g)
    node.op_type = "Identity"
    del node.input[spikes if rng.random() < 0.5 else 1 - spikes]


@graph("residual connection scaled")
def _(g: Graph, rng: Random) -> None:
    node, conv, spikes = residual(g)
    g.beside(node, rng.choice([conv, spikes]), lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("residual connection from another layer", BOTH)
def _(g: Graph, rng: Random) -> None:
    node, _, spikes = residual(g)
    node.input[spikes] = g.readers("conv3.weight")[0][0].input[0]


@graph("residual subtracted", BOTH)
def _(g: Graph, rng: Random) -> None:
    residual(g)[0].op_type = "Sub"


@graph("norm on one branch of the sum")
def _(g: Graph, rng: Random) -> None:
    node, conv, spikes = residual(g)
    total = node.output[0]
    gain, _ = next((n, i) for n, i in g.readers(total) if "act3.gain" in n.input)
    offset, _ = g.readers(gain.output[0])[0]
    branch, other = rng.choice([(conv, spikes), (spikes, conv)])
    scaled = g.insert("Add", [g.insert("Mul", [node.input[branch], "act3.gain"]), "act3.offset"])
    final = offset.output[0]
    g.graph.node.remove(offset)
    g.insert("Add", [scaled, node.input[other]], before=gain, output=final)


@graph("offset before gain", BOTH)
def _(g: Graph, rng: Random) -> None:
    gain = next(node for node in g.nodes("Mul") if "act3.gain" in node.input)
    offset = next(node for node in g.nodes("Add") if "act3.offset" in node.input)
    gain.op_type, offset.op_type = "Add", "Mul"
    gain.input[list(gain.input).index("act3.gain")] = "act3.offset"
    offset.input[list(offset.input).index("act3.offset")] = "act3.gain"


@graph("pooling of another kind", BOTH)
def _(g: Graph, rng: Random) -> None:
    node = g.nodes("AveragePool")[0]
    if rng.random() < 0.5:
        node.op_type = "MaxPool"
        node.attribute.remove(attribute(node, "count_include_pad"))
    else:
        node.op_type = "LpPool"
        for name in ("count_include_pad", "ceil_mode"):
            node.attribute.remove(attribute(node, name))


@graph("pooling scaled")
def _(g: Graph, rng: Random) -> None:
    g.behind(g.nodes("AveragePool")[0].output[0], lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("flattened in another order", BOTH)
def _(g: Graph, rng: Random) -> None:
    pooled = g.nodes("AveragePool")[0].output[0]
    node, i = g.readers(pooled)[0]
    perm = rng.choice([[0, 2, 3, 1], [0, 1, 3, 2], [0, 3, 2, 1]])
    g.beside(node, i, lambda name: g.insert("Transpose", [name], perm=perm))


@graph("spikes mirrored on the way", BOTH)
def _(g: Graph, rng: Random) -> None:
    node = g.readers(f"{rng.choice(['conv2', 'conv3'])}.weight")[0][0]
    g.beside(node, 0, lambda name: g.insert("Transpose", [name], perm=[0, 1, 3, 2]))


@graph("two channels exchanged on the way")
def _(g: Graph, rng: Random) -> None:
    node = g.readers(f"{rng.choice(['conv2', 'conv3'])}.weight")[0][0]
    order = list(range(6))
    a, b = rng.sample(order, 2)
    order[a], order[b] = b, a
    g.beside(node, 0, lambda name: g.insert("Gather", [name, g.hold(order, np.int64)], axis=1))


# Anywhere


def currents(g: Graph) -> list[str]:
    """What convolutions and the residual sum make."""
    return [g.readers(f"{conv}.weight")[0][0].output[0] for conv in CONVOLUTIONS] + [residual(g)[0].output[0]]


@graph("a factor on a current", mutants=5)
def _(g: Graph, rng: Random) -> None:
    g.behind(rng.choice(currents(g)), lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("a factor of 1.00001 on a current", quiet=True)
def _(g: Graph, rng: Random) -> None:
    g.behind(rng.choice(currents(g)), lambda name: g.insert("Mul", [name, g.hold(1 + rng.choice([-1, 1]) * 1e-5)]))


@graph("a factor of 1.00001 on the output", quiet=True)
def _(g: Graph, rng: Random) -> None:
    g.behind("y", lambda name: g.insert("Mul", [name, g.hold(1 + rng.choice([-1, 1]) * 1e-5)]))


@graph("a factor on the output", quiet=True)
def _(g: Graph, rng: Random) -> None:
    g.behind("y", lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("a factor on the input")
def _(g: Graph, rng: Random) -> None:
    for reader in g.readers("x"):
        g.beside(*reader, lambda name: g.insert("Mul", [name, g.hold(factor(rng))]))


@graph("something small added")
def _(g: Graph, rng: Random) -> None:
    name = rng.choice([*currents(g), "y"])
    g.behind(name, lambda name: g.insert("Add", [name, g.hold(rng.choice([-1, 1]) * 10 ** -rng.uniform(2, 5))]))


@graph("one channel's current scaled")
def _(g: Graph, rng: Random) -> None:
    scale = np.ones((6, 1, 1), np.float32)
    scale[rng.randrange(6)] = factor(rng)
    g.behind(rng.choice(currents(g)), lambda name: g.insert("Mul", [name, g.hold(scale)]))


@graph("one element's current scaled")
def _(g: Graph, rng: Random) -> None:
    scale = np.ones((6, 8, 8), np.float32)
    scale[rng.randrange(6), rng.randrange(8), rng.randrange(8)] = factor(rng)
    g.behind(rng.choice(currents(g)), lambda name: g.insert("Mul", [name, g.hold(scale)]))


@graph("half precision on the way", mutants=4)
def _(g: Graph, rng: Random) -> None:
    name = rng.choice([*currents(g), "y", *(g.name(layer, "potential", g.steps(layer)[-1]) for layer in LAYERS)])
    half = rng.choice([TensorProto.FLOAT16, TensorProto.BFLOAT16])
    g.behind(name, lambda name: there_and_back(g, name, half))


@graph("saturation at what the data does not reach", mutants=6, quiet=True)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    step = rng.choice(g.steps(layer))
    reached = max(float(u.abs().max()) for u in workbench.observed(g.case).potentials[layer])
    limit = [g.hold(sign * reached * rng.uniform(1.1, 2)) for sign in (-1, 1)]
    g.behind(g.name(layer, "potential", step), lambda name: g.insert("Clip", [name, *limit]))


@graph("saturation beyond all probes", quiet=True)
def _(g: Graph, rng: Random) -> None:
    limit = [g.hold(sign * rng.uniform(300, 1000)) for sign in (-1, 1)]
    g.behind(g.name("act1", "potential", rng.choice(g.steps("act1"))), lambda name: g.insert("Clip", [name, *limit]))


@graph("negative inputs cut off", BOTH, quiet=True)
def _(g: Graph, rng: Random) -> None:
    op = rng.choice(["Relu", "Abs"])
    for reader in g.readers("x"):
        g.beside(*reader, lambda name: g.insert(op, [name]))


@graph("inputs cut off at one", BOTH, quiet=True)
def _(g: Graph, rng: Random) -> None:
    for reader in g.readers("x"):
        g.beside(*reader, lambda name: g.insert("Clip", [name, g.hold(-1.0), g.hold(1.0)]))


# Output


@graph("another output for a single sample", quiet=True)
def _(g: Graph, rng: Random) -> None:
    size = g.insert("Gather", [g.insert("Shape", ["x"]), g.hold(0, np.int64)])
    alone = g.insert("Cast", [g.insert("Equal", [size, g.hold(1, np.int64)])], to=TensorProto.FLOAT)
    share = g.insert("Add", [g.insert("Mul", [alone, g.hold(factor(rng) - 1)]), g.hold(1.0)])
    g.behind("y", lambda name: g.insert("Mul", [name, share]))


@graph("another read-out", tuple(case for case in SEQUENCE if case.readout in ("mean", "sum")))
def _(g: Graph, rng: Random) -> None:
    node = g.nodes("ReduceMean", "ReduceSum")[0]
    node.op_type = rng.choice([kind for kind in ("ReduceMean", "ReduceSum", "ReduceMax") if kind != node.op_type])
    if node.op_type == "ReduceMax":
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("keepdims", 0))


@graph("read-out over a step less", tuple(case for case in SEQUENCE if case.readout in ("mean", "sum")))
def _(g: Graph, rng: Random) -> None:
    node = g.nodes("ReduceMean", "ReduceSum")[0]
    first, end = rng.choice([(0, -1), (1, 2**31)])
    g.beside(node, 0, lambda name: g.insert("Slice", [name, *(g.hold([v], np.int64) for v in (first, end, 0))]))


@graph("read-out of another step", cases(".onnx", "sequence", readout="last"))
def _(g: Graph, rng: Random) -> None:
    node = g.nodes("Gather")[0]
    node.input[1] = g.hold(rng.choice([0, workbench.TIMESTEPS - 2]), np.int64)


@graph("outputs of all steps in another order", cases(".onnx", "sequence", readout="none"))
def _(g: Graph, rng: Random) -> None:
    order = rng.choice([[1, 0, 2], [2, 1, 0], [0, 0, 1], [1, 2, 0]])
    g.behind("y", lambda name: g.insert("Gather", [name, g.hold(order, np.int64)], axis=1))


@graph("classes permuted", quiet=True)
def _(g: Graph, rng: Random) -> None:
    order = list(range(5))
    rng.shuffle(order)
    g.behind("y", lambda name: g.insert("Gather", [name, g.hold(order, np.int64)], axis=-1))


@graph("samples mixed", mutants=4)
def _(g: Graph, rng: Random) -> None:
    name = rng.choice(["y", *currents(g)[1:]])
    mix = rng.choice([rolled, turned, centred])
    g.behind(name, lambda name: mix(g, name))


def turned(g: Graph, name: str) -> str:
    """The samples in reverse order."""
    back = [g.hold([value], np.int64) for value in (-1, -(2**31), 0, -1)]
    return g.insert("Slice", [name, *back])


def centred(g: Graph, name: str) -> str:
    """A thousandth of the mean over the samples taken away."""
    mean = g.insert("ReduceMean", [name, g.hold([0], np.int64)], keepdims=1)
    return g.insert("Sub", [name, g.insert("Mul", [mean, g.hold(1e-3)])])


# One step


@graph("next state without reset", STEP)
def _(g: Graph, rng: Random) -> None:
    node = g.maker(f"next_state.{rng.choice(LAYERS)}")
    node.input[1] = node.input[2]


@graph("next state before leak and reset", STEP)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    g.behind(f"next_state.{layer}", lambda _: g.insert("Identity", [f"{layer}.potential"]))


@graph("next state is the old one", STEP)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    g.behind(f"next_state.{layer}", lambda _: g.insert("Identity", [f"state.{layer}"]))


@graph("two states exchanged", STEP)
def _(g: Graph, rng: Random) -> None:
    a, b = rng.sample(LAYERS, 2)
    first, second = g.maker(f"next_state.{a}"), g.maker(f"next_state.{b}")
    first.output[0], second.output[0] = second.output[0], first.output[0]


@graph("state ignored", STEP)
def _(g: Graph, rng: Random) -> None:
    layer = rng.choice(LAYERS)
    node = g.maker(f"{layer}.potential")
    g.beside(node, 0, lambda name: g.insert("Mul", [name, g.hold(0.0)]))


# Metadata


@graph("metadata of another contract", BOTH, 4)
def _(g: Graph, rng: Random) -> None:
    metadata = g.metadata()
    contract = metadata["contract"]
    wrong = {
        "timesteps": contract["timesteps"] + rng.choice([-1, 1]),
        "event": not contract["event"],
        "readout": rng.choice([name for name in ("mean", "sum", "last", "max", "none") if name != contract["readout"]]),
        "input_shape": rng.choice([[2, 8, 9], [1, 8, 8], [3, 8, 8]]),
    }
    key = rng.choice(sorted(wrong))
    contract[key] = wrong[key]
    g.set_metadata(metadata)


@graph("metadata with the names of two neurons exchanged")
def _(g: Graph, rng: Random) -> None:
    metadata = g.metadata()
    a, b = rng.sample(LAYERS, 2)
    tensors = metadata["tensors"]
    tensors[a], tensors[b] = tensors[b], tensors[a]
    g.set_metadata(metadata)


@graph("metadata with a wrong name of a neuron", BOTH)
def _(g: Graph, rng: Random) -> None:
    metadata = g.metadata()
    neuron = rng.choice(metadata["neurons"])
    metadata["tensors"]["act9"] = metadata["tensors"].pop(neuron["name"])
    neuron["name"] = "act9"
    g.set_metadata(metadata)


@graph("metadata with a wrong form", BOTH)
def _(g: Graph, rng: Random) -> None:
    metadata = g.metadata()
    metadata["form"] = "step" if metadata["form"] == "sequence" else "sequence"
    g.set_metadata(metadata)


@graph("metadata with potentials of another step", SEQUENCE)
def _(g: Graph, rng: Random) -> None:
    metadata = g.metadata()
    kinds = metadata["tensors"][rng.choice(LAYERS)]
    names = kinds[rng.choice(["potential", "spike"])]
    a, b = rng.sample(range(workbench.TIMESTEPS), 2)
    names[a], names[b] = names[b], names[a]
    g.set_metadata(metadata)
