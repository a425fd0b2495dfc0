"""Writing down an eps that follows from the type of numbers: the same graph is run in float32 and in float64.

    rms_norm(x, shape, weight)   ->   rms_norm(x, shape, weight, 1.19e-07)

Exact.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.ir.nodes import argument, operand, target

_ATEN = torch.ops.aten


def write_default_eps(graph: fx.Graph) -> fx.Graph:
    """Give every RMS norm that has no eps that of the type in which the network was traced."""
    for node in graph.nodes:
        if target(node) is _ATEN.rms_norm.default and argument(node, 3) is None and node.kwargs.get("eps") is None:
            dtype = operand(node, 0).meta["val"].dtype
            weight = argument(node, 2, node.kwargs.get("weight"))
            node.args, node.kwargs = (*node.args[:2], weight, torch.finfo(dtype).eps), {}
    return graph
