"""Small networks that differ in how their layers are wired, and the graph of one step of them before the passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from snnconv.capture.first_run import neurons_that_run
from snnconv.capture.slots import Interface, Slot, stand_in
from snnconv.capture.tracing import trace
from snnconv.ir.program import SpikingProgram, TimeContract
from snnconv.nn import LIF, neurons
from tests.networks import inputs, program_of, source_of, trained

SHAPE = (2, 4, 4)


class Wired(nn.Module):
    """A conv, two neurons and a head, with a forward of its own."""

    def __init__(self, wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.wiring = wiring
        self.conv, self.a, self.b, self.head = nn.Conv2d(2, 3, 3, padding=1), LIF(), LIF(threshold=0.3), nn.Linear(48, 4)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(self, x)


def captured(wiring: Callable[[Wired, Tensor], Any], **layers: nn.Module) -> SpikingProgram:
    return program_of(trained(Wired(wiring, **layers)), shape=SHAPE)


def assert_captured_alike(wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> SpikingProgram:
    source = source_of(trained(Wired(wiring, **layers)), shape=SHAPE)
    for batch in (1, 3):
        x = inputs(source, batch)
        assert torch.equal(source.program.run(x), source.run(x))
    return source.program


def traced(wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> fx.Graph:
    """The graph of one step as it is traced, no pass having seen it."""
    net, contract = trained(Wired(wiring, **layers)), TimeContract(4, SHAPE)
    slots = [Slot(path, Interface(), frozenset()) for path in neurons(net)]
    for slot in slots:
        stand_in(net.get_submodule(slot.path), slot)

    def call(module: nn.Module, x: Tensor) -> tuple[Tensor]:
        return (module(x),)

    running = neurons_that_run(net, slots, contract, call)
    graph, _ = trace(net, running, {slot.path: slot.shapes[0] for slot in running}, contract, call)
    return graph


def operators(graph: fx.Graph) -> list[str]:
    """The names of the operators of a graph, in order."""
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]
