"""Which dimension of every value in a step holds the batch: time is merged into that dimension and taken out of it again.

It is the first one nearly everywhere, and the second in a network that keeps its single step as a dimension of its own,
`[1, B, ...]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.default_type import numbers_in
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import SpikingProgram
from snnconv.ir.starting import STARTING_FROM


class BatchDimensions:
    """Where the samples are in every value of a step, seen by running it on one sample and on two.

    Attributes:
        of: the dimension whose size grows with the batch, of every tensor that has one.
        shared: the tensors in which that dimension holds something else besides, as `[B * heads, ...]` does: time can neither be
            merged into it nor be taken out of it.
    """

    def __init__(self, program: SpikingProgram) -> None:
        one, two = (_sizes(program, batch) for batch in (1, 2))
        grows = {node: [a != b for a, b in zip(one[node], two[node], strict=True)] for node in one}
        self.of = {node: unlike.index(True) for node, unlike in grows.items() if True in unlike}
        self.shared = frozenset(node for node, dim in self.of.items() if one[node][dim] != 1)


def _sizes(program: SpikingProgram, batch: int) -> dict[fx.Node, torch.Size]:
    step = _StepForSizes(program.graph)
    with torch.no_grad(), numbers_in(program.dtype):
        x = torch.zeros(batch, *program.contract.input_shape, dtype=program.dtype)
        memories = [torch.zeros(batch, *shape, dtype=program.dtype) for shape in program.memories.values()]
        step.run(x, *[None] * len(program.neurons), *memories)
    return step.sizes


class _StepForSizes(fx.Interpreter):
    """Runs a step for the sizes of its values, without firing a neuron."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.sizes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and note the size of its value."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.sizes[n] = result.shape
        return result

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Take the first entry of a constant per step, and a neuron's current for its spikes."""
        if target is AT_STEP:
            return args[0][0]
        if target is STARTING_FROM:
            return args[0]
        return (args[0], None, args[0]) if target is NEURON_OP else super().call_function(target, args, kwargs)
