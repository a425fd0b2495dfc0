"""Dropping what `torch.export` asserts about the types of tensors.

    _assert_tensor_metadata(x, dtype=float32)   ->   (nothing)

Exact: an assertion computes nothing. It would stop a program that runs in another type than it was traced in.
"""

from __future__ import annotations

import torch
from torch import fx

_ASSERTION = torch.ops.aten._assert_tensor_metadata.default


def drop_metadata_assertions(graph: fx.Graph) -> fx.Graph:
    """Erase every `_assert_tensor_metadata`."""
    for node in graph.find_nodes(op="call_function", target=_ASSERTION):
        graph.erase_node(node)
    return graph
