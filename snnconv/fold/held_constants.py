"""What follows from constants alone becomes one constant, so that nothing is computed from constants at run time.

    before   y = conv(x, g * v / |v|)       a weight norm; a standardised weight; a scale on a weight; a part of a weight
    after    y = conv(x, W)

Norms then fold into such a weight as into any other, every form and format holds the same constants by the same names, and no
exporter finds anything to compute and call by a name of its own. In float64, rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

import re

from torch import Tensor, fx

from snnconv.fold.constants import Constant, constants_of
from snnconv.fold.editing import edited, remove, rewritten
from snnconv.fold.passes import FoldPass
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import SpikingProgram, put, tensors

_PARAMETRIZED = re.compile(r"parametrizations\.(\w+)\.\w+(?:\.\w+)*$")
"""Where `torch.nn.utils.parametrize` holds what a parameter is computed from."""
_WEIGHT_NORM = re.compile(r"_[gv]$")


class HoldConstants(FoldPass):
    """Holds each constant value that an operator computes; no norm is touched, so there is no site."""

    name = "held-constants"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program with one stored constant in the place of each computed one."""
        graph = edited(program)
        constants = constants_of(graph)
        computed = _computed(graph, constants)
        reads = [(_name(_path(node, constants[node])), _replaced(graph, node, constants[node])) for node in computed]
        graph.graph.eliminate_dead_code()
        for path, read in reads:
            alone = sum(path == other for other, _ in reads) == 1 and not graph.graph.find_nodes(op="get_attr", target=path)
            value, final = tensors(graph)[str(read.target)], path if alone else f"{path}_{read.name}"
            read.target = final
            put(graph, final, value)
        return rewritten(program, graph, [])

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a constant is still computed."""
        left = [node.name for node in _computed(program.graph, constants_of(program.graph))]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _computed(graph: fx.GraphModule, constants: dict[fx.Node, Constant]) -> list[fx.Node]:
    """Every constant that is neither stored nor read at a step as stored, and that something reads which is no constant."""
    stored = [node for node in constants if node.op == "get_attr"]
    stored += [node for node in constants if node.target is AT_STEP and node.args[0] in stored]
    read = [node for node in constants if any(user not in constants for user in node.users)]
    return [node for node in read if node not in stored and isinstance(constants[node].held, Tensor)]


def _replaced(graph: fx.GraphModule, node: fx.Node, constant: Constant) -> fx.Node:
    """Put a stored constant, at a path for the time being, in the place of `node`; gives what reads it."""
    path = f"{node.name}_held"
    put(graph, path, constant.value.contiguous())
    with graph.graph.inserting_before(node):
        read = graph.graph.create_node("get_attr", path, name=node.name)
        value = graph.graph.call_function(AT_STEP, (read,)) if constant.per_step else read
    value.meta["val"] = node.meta["val"]
    remove(node, value)
    return read


def _path(node: fx.Node, constant: Constant) -> str:
    """The path of the tensor that `node` is computed from; one of its own if that one was of another type, or if it has none."""
    types = {read.meta["val"].dtype for read in node.graph.find_nodes(op="get_attr", target=constant.path)}
    return constant.path if types == {node.meta["val"].dtype} else f"{node.name}_held"


def _name(path: str) -> str:
    """Where to hold what is computed from `path`: a parametrised weight at the place where its layer has it."""
    return _WEIGHT_NORM.sub("", _PARAMETRIZED.sub(r"\1", path))
