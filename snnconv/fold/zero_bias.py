"""A bias of nothing but zeros goes: no artifact should hold it, and some exporters drop it on their own.

It is what a norm without a shift leaves behind (a PSP norm), and what a layer may have been initialised with. `exact`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from snnconv.fold.linear_norm import LINEAR_OPS, TRANSPOSED
from snnconv.fold.passes import edited, is_zero, rewritten
from snnconv.ir.program import SpikingProgram, tensors


@dataclass(frozen=True)
class DropZeroBias:
    """Takes zero biases from linear operators; no norm is touched, so there is no site."""

    name: str = "zero-bias"

    def requires(self, program: SpikingProgram) -> None:
        return None

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        graph = edited(program)
        for node in _with_zero_bias(graph):
            node.args = (*node.args[:2], None, *node.args[3:])
        return rewritten(program, graph, [])

    def ensures(self, program: SpikingProgram) -> None:
        left = [node.name for node in _with_zero_bias(program.graph)]
        if left:
            raise RuntimeError(f"{self.name} left {left}")


def _with_zero_bias(graph: fx.GraphModule) -> list[fx.Node]:
    held = tensors(graph)
    linear = [node for node in graph.graph.nodes if node.target in LINEAR_OPS + TRANSPOSED and len(node.args) > 2]
    biased = [node for node in linear if isinstance(node.args[2], fx.Node) and node.args[2].op == "get_attr"]
    return [node for node in biased if is_zero(held[str(node.args[2].target)])]
