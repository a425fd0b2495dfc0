"""Dropping the batch size from reshapes, so that a graph holds for every batch.

    y.view(x.shape[0], 48)   ->   y.view(-1, 48)

Exact: the sizes of the other dimensions are fixed, so the batch size follows from them.
"""

from __future__ import annotations

import operator

import torch
from torch import fx

from snnconv.errors import Refused
from snnconv.ir.nodes import argument, operand, shape, target

_ATEN = torch.ops.aten
_RESHAPES = (_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default)
_SIZES = (_ATEN.sym_size.int,)


def drop_batch_size(graph: fx.Graph) -> fx.Graph:
    """Replace the batch size in reshapes by -1. Raises `Refused` if the network computes with it in any other way."""
    for node in list(graph.nodes):
        sizes = [value for value in node.all_input_nodes if value.target in _SIZES]
        if not sizes:
            continue
        if target(node) in _RESHAPES and argument(node, 1)[0] in sizes and len(sizes) == 1:
            node.args = (operand(node, 0), [-1, *map(int, shape(node)[1:])])
        elif target(node) is not operator.getitem:
            raise Refused(
                f"the network computes with the batch size (in {target(node)}), so steps cannot be merged into the batch",
                "write reshapes as x.flatten(1) or x.view(x.shape[0], ...)",
            )
    return graph
