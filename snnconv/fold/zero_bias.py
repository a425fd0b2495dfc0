"""A bias of nothing but zeros goes: no artifact should hold it, and some exporters drop it on their own.

It is what a norm without a shift leaves behind (a PSP norm), and what a layer may have been initialised with. `exact`.
"""

from __future__ import annotations

from torch import fx

from snnconv.fold.editing import edited, is_zero, rewritten
from snnconv.fold.layers import has_bias
from snnconv.fold.passes import FoldPass
from snnconv.ir.nodes import operand
from snnconv.ir.operators import OPERATORS
from snnconv.ir.program import SpikingProgram, tensors


class DropZeroBias(FoldPass):
    """Takes zero biases from layers; no norm is touched, so there is no site."""

    name = "zero-bias"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program without them."""
        graph = edited(program)
        for node in _with_zero_bias(graph):
            node.args = (*node.args[:2], None, *node.args[3:])
        return rewritten(program, graph, [])

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if one is left."""
        left = [node.name for node in _with_zero_bias(program.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _with_zero_bias(graph: fx.GraphModule) -> list[fx.Node]:
    held = tensors(graph)
    biased = [node for node in graph.graph.nodes if OPERATORS.layer(node) is not None and has_bias(node)]
    return [node for node in biased if operand(node, 2).op == "get_attr" and is_zero(held[str(operand(node, 2).target)])]
