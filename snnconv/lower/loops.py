"""Which part of a step must run step by step in a sequence: what lies on a cycle through a memory.

A memory that the step reads is what the step before left in it. If that depends on the memory again, or on another memory that
does, all between the two runs once per step; everything else still runs once on all steps.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable
from typing import Any

from torch import fx

from snnconv.ir.nodes import reached, results
from snnconv.ir.program import SpikingProgram


class Loops:
    """The order in which the nodes of a step are lowered, those of one loop together.

    Attributes:
        memories: the placeholder of each memory, with its name.
        left: what a step leaves in each memory, by its placeholder.
        groups: the nodes in that order; a group of several nodes, or of a memory that is left as it was found, is a loop.
    """

    def __init__(self, program: SpikingProgram) -> None:
        graph = program.graph.graph
        behind = len(program.neurons)
        found = list(graph.find_nodes(op="placeholder"))[1 + behind :]
        self.memories = dict(zip(found, program.memories, strict=True))
        self.left = dict(zip(found, results(graph).following[behind:], strict=True))
        self.groups = _ordered(list(graph.nodes), self._loops(), self.before) if found else [[node] for node in graph.nodes]

    def before(self, node: fx.Node) -> list[fx.Node]:
        """What must be known before a node: its inputs, and of a memory what was left in it."""
        return [self.left[node]] if node in self.left else node.all_input_nodes

    def is_loop(self, group: list[fx.Node]) -> bool:
        """Whether the nodes of a group run step by step."""
        return len(group) > 1 or self.left.get(group[0]) is group[0]

    def remembered(self) -> set[fx.Node]:
        """Every node on which what is left in a memory depends."""
        return reached(self.left.values(), self.before)

    def _loops(self) -> dict[fx.Node, fx.Node]:
        """The nodes of all loops, each with the memory that stands for its loop."""
        holders: dict[fx.Node, list[fx.Node]] = {}
        for memory, value in self.left.items():
            holders.setdefault(value, []).append(memory)

        def behind(node: fx.Node) -> list[fx.Node]:
            readers = [user for user in node.users if user.op != "output"]
            return [*readers, *holders.get(node, ())]

        loops: dict[fx.Node, Any] = {}
        for memory in self.left:
            if memory not in loops:
                around = reached([memory], self.before) & reached([memory], behind)
                # Of what has several parts, the parts go with it: only tensors leave a loop.
                parts = [user for node in around for user in node.users if user.target is operator.getitem]
                loops |= dict.fromkeys((*around, *parts), memory)
        return loops


def _ordered(
    nodes: list[fx.Node], loops: dict[fx.Node, fx.Node], before: Callable[[fx.Node], list[fx.Node]]
) -> list[list[fx.Node]]:
    """The nodes in an order in which everything is known before it is needed, as near to their own as can be."""
    group = {node: loops.get(node, node) for node in nodes}
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in nodes:
        members.setdefault(group[node], []).append(node)
    waits = {head: {group[b] for node in part for b in before(node)} - {head} for head, part in members.items()}
    readers: dict[fx.Node, list[fx.Node]] = {}
    for head, needed in waits.items():
        for other in needed:
            readers.setdefault(other, []).append(head)
    place = {head: i for i, head in enumerate(members)}
    heads = list(members)
    ready = [place[head] for head, needed in waits.items() if not needed]
    heapq.heapify(ready)
    order: list[list[fx.Node]] = []
    while ready:
        head = heads[heapq.heappop(ready)]
        order.append(members[head])
        for reader in readers.get(head, ()):
            waits[reader].discard(head)
            if not waits[reader]:
                heapq.heappush(ready, place[reader])
    return order
