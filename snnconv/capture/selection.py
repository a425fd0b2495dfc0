"""Which memories of a network that loops over time itself are kept.

A sum over time is a memory like every other, and so is a membrane that leaks and is read at the end. Yet a sum is better left to
the readout: without it a step returns what is added. So there are several selections, the smallest first; whether a program of
one of them, read out, is what the network computes shows when it is compared with it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import fx

from snnconv.ir.nodes import reached, results
from snnconv.ir.program import neuron_calls

Selection = Literal["spikes", "no sums", "all"]
SELECTIONS: tuple[Selection, ...] = ("spikes", "no sums", "all")
"""The memories on which spikes depend, now or later; besides these, all but sums over time; all."""


def selected(graph: fx.Graph, memories: Collection[str], selection: Selection) -> list[str]:
    """The names of the inputs among `memories` that belong to a selection."""
    if selection == "all":
        return list(memories)
    following = _following(graph)
    needed = _needed_by_spikes(graph, following)
    others = [] if selection == "spikes" else [state for state, value in following.items() if not _is_sum(state, value)]
    return [state.name for state in following if state.name in memories and state in {*needed, *others}]


def _following(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """Each state of the graph, and its next one."""
    _, *states = graph.find_nodes(op="placeholder")
    return dict(zip(states, results(graph).following, strict=True))


def _needed_by_spikes(graph: fx.Graph, following: dict[fx.Node, fx.Node]) -> set[fx.Node]:
    """What spikes depend on, now or later."""
    starts: list[fx.Node] = list(neuron_calls(graph))
    while True:
        needed = reached(starts, lambda node: node.all_input_nodes)
        further = [value for state, value in following.items() if state in needed and value not in needed]
        if not further:
            return needed
        starts += further


def _is_sum(state: fx.Node, value: fx.Node) -> bool:
    """Whether a state is only ever added to."""
    return value.target is torch.ops.aten.add.Tensor and state in value.args and list(state.users) == [value]
