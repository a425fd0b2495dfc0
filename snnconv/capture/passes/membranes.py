"""Checking that the network computes with the spikes and potentials of its neurons, not with what they carry to the next step.

The graph is left as it is. The next state that `snnconv::neuron` gives may only be returned.
"""

from __future__ import annotations

from torch import fx

from snnconv.errors import Refused
from snnconv.ir.neuron import NEXT_STATE
from snnconv.ir.nodes import argument, results
from snnconv.ir.program import neuron_calls


def ensure_membranes_unread(graph: fx.Graph) -> fx.Graph:
    """Raise `Refused` if the network computes with a state that one of its neurons returned, or gives it as an output."""
    outputs, _ = results(graph)
    for node in neuron_calls(graph):
        for value in node.users:
            if argument(value, 1) == NEXT_STATE and (value in outputs or any(user.op != "output" for user in value.users)):
                raise Refused(
                    f"the network computes with a state of neuron {argument(node, 2)}, and nothing says what that holds",
                    "read its potential or its spikes; the adapter of a neuron of your own says what it holds: "
                    "@adapter(..., shows=function)",
                )
    return graph
