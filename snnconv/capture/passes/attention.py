"""Giving attention its dimension of heads.

    attention(q, k, v), each [B, N, E]   ->   attention(q, k, v, each [B, 1, N, E]).squeeze(1)

Exact: it is attention with one head. ONNX knows no other form.
"""

from __future__ import annotations

import torch
from torch import fx

from snnconv.ir.nodes import argument, call_before, operand, shape

_ATEN = torch.ops.aten
_ATTENTION = _ATEN.scaled_dot_product_attention.default


def add_heads(graph: fx.Graph) -> fx.Graph:
    """Let attention without a dimension of heads have one head. Where it has one, nothing changes."""
    for node in list(graph.find_nodes(op="call_function", target=_ATTENTION)):
        if len(shape(node)) == 3:
            heads = [call_before(node, _ATEN.unsqueeze.default, operand(node, i), 1) for i in range(3)]
            rest, kwargs = list(node.args[3:]), dict(node.kwargs)
            mask = argument(node, 3, kwargs.get("attn_mask"))
            if isinstance(mask, fx.Node) and len(shape(mask)) == 3:
                masked = call_before(node, _ATEN.unsqueeze.default, mask, 1)
                if rest:
                    rest[0] = masked
                else:
                    kwargs["attn_mask"] = masked
            attended = call_before(node, _ATTENTION, *heads, *rest, **kwargs)
            node.replace_all_uses_with(call_before(node, _ATEN.squeeze.dim, attended, 1))
            graph.erase_node(node)
    return graph
