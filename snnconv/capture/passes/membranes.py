"""Checking that the network computes with the spikes of its neurons, and not with their potentials.

The graph is left as it is. `snnconv::neuron` gives `(spikes, next state)`; the next state may only be returned.
"""

from __future__ import annotations

from torch import fx

from snnconv.errors import Refused
from snnconv.ir.nodes import argument, outputs
from snnconv.ir.program import neuron_calls


def ensure_membranes_unread(graph: fx.Graph) -> fx.Graph:
    """Raise `Refused` if the network computes with a potential that one of its neurons returned, or gives it as its output."""
    y, *_ = outputs(graph)
    for node in neuron_calls(graph):
        for value in node.users:
            if argument(value, 1) == 1 and (value is y or any(user.op != "output" for user in value.users)):
                raise Refused(
                    f"the network computes with the membrane potential of {argument(node, 2)}",
                    "read the spikes out instead; a potential is no output of a spiking network on a device",
                )
    return graph
