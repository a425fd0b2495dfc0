"""Naming the nodes of a graph anew, by what they call and in their order.

    add_2 = add(x, y); flatten_5 = flatten(add_2)   ->   add = add(x, y); flatten = flatten(add)

Exact: names compute nothing. Those of `torch.export` count what has been dropped since, and artifacts show them: equal networks
shall have equal files.
"""

from __future__ import annotations

import torch
from torch import fx


def name_nodes(graph: fx.Graph) -> fx.Graph:
    """A copy of the graph in which every node but inputs and constants has a new name."""
    fresh, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), copies.__getitem__)
        copies[node] = fresh.create_node(node.op, node.target, args, kwargs, _name(node), node.type)
        copies[node].meta = node.meta
    return fresh


def _name(node: fx.Node) -> str:
    """What `node` is called, if nothing else in its graph is called so: an operator by its name, the rest as before."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.rpartition("::")[2]
    return node.name
