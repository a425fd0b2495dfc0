"""Tracing one step: `torch.export` with the state of every neuron as an input and an output, and any batch size."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor, fx, nn

from snnconv.capture.memories import Memory, recalling
from snnconv.capture.slots import Call, Slot
from snnconv.errors import Refused, translated
from snnconv.ir.per_step import ensure_steps
from snnconv.ir.program import TimeContract
from snnconv.nn import PerStep
from snnconv.user_code import described, place_in

_ROOT = "net."
_COPIED = "Cannot access data pointer"
"""How torch says that `copy.deepcopy` or numpy was asked for a tensor that is traced."""
_BATCH = 23
"""The batch size of the example that is traced. Any would do, but torch mistakes one that another size equals for that size."""


class _ExplicitStateStep(nn.Module):
    """One step of a network with slots, as a function `(x, *states) -> (*outputs, *next_states)`."""

    def __init__(self, net: nn.Module, slots: list[Slot], memories: Sequence[Memory], call: Call) -> None:
        super().__init__()
        self.net = net
        self._slots, self._memories, self._call = slots, memories, call

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """The outputs and the next states, for the states in the order of the slots and then of the memories."""
        neurons = len(self._slots)
        for slot, state in zip(self._slots, states[:neurons], strict=True):
            slot.carried = state
        with recalling(self.net, self._memories, states[neurons:]) as left:
            outputs = self._call(self.net, x)
        return (*outputs, *(slot.take() for slot in self._slots), *left)


def leave_steps_open(net: nn.Module, contract: TimeContract) -> None:
    """Let layers with constants per step leave `snnconv::at_step` in the graph.

    Raises `Refused` if one of them holds constants for fewer steps than the contract has.
    """
    for name, layer in net.named_modules():
        if isinstance(layer, PerStep):
            ensure_steps(name, layer.timesteps, contract.timesteps)
            layer.forward = partial(layer.at_step, at=torch.ops.snnconv.at_step)  # type: ignore[method-assign]


def trace(
    net: nn.Module,
    slots: list[Slot],
    state_shapes: Mapping[str, tuple[int, ...]],
    contract: TimeContract,
    call: Call,
    memories: Sequence[Memory] = (),
) -> tuple[fx.Graph, dict[str, Tensor]]:
    """The flat graph `(x, *states) -> (*outputs, *next_states)` of one step of `net`, and its constants by their paths.

    Args:
        slots: the stand-ins of the neurons, in the order of the states.
        state_shapes: the shape of each neuron's state, without the batch.
        memories: what else the network keeps, in the order of the states behind those of the neurons.

    Raises `Refused` if `torch.export` cannot trace the step.
    """
    batch = torch.export.Dim("batch")
    shapes = [*(state_shapes[slot.path] for slot in slots), *(memory.shape for memory in memories)]
    states = [torch.zeros(_BATCH, *shape) for shape in shapes]
    with translated(_untraceable), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            _ExplicitStateStep(net, slots, memories, call),
            (torch.zeros(_BATCH, *contract.input_shape), *states),
            dynamic_shapes={"x": {0: batch}, "states": tuple({0: batch} for _ in states)},
        )
    return _flat(exported)


def _untraceable(error: Exception) -> Refused:
    if "Constraints violated" in str(error):
        return Refused(
            "one step of the network holds for one batch size only: its forward makes a plain number of the batch size, or "
            "compares it with one",
            "use x.shape[0] as it is, not len(x) or int(x.shape[0]); it must run with any batch size",
        )
    if _COPIED in str(error):
        where = place_in("".join(traceback.format_exception(error)))
        return Refused(
            f"one step of the network reads the memory of a tensor, which cannot be traced{', in ' if where else ''}{where}",
            "copy a tensor by its clone(), and leave numpy out",
        )
    return Refused(
        f"torch.export cannot capture one step of the network: {described(error)}",
        "its forward must be one time step, without branches on values and with any batch size",
    )


def _flat(exported: torch.export.ExportedProgram) -> tuple[fx.Graph, dict[str, Tensor]]:
    """The graph with the values and the places in its metadata, and the constants at the paths that they have in the network."""
    module = exported.module(check_guards=False)
    traces = {node.name: node.meta.get("stack_trace") for node in exported.graph.nodes}
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    returned = graph.graph_copy(module.graph, copies)
    graph.output(tuple(returned) if isinstance(returned, list | tuple) else (returned,))
    constants: dict[str, Tensor] = {}
    for node in graph.nodes:
        place = place_in(traces.get(node.name) or "")
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
        if place:
            node.meta["place"] = place
        if node.op == "get_attr":
            held = attrgetter(str(node.target))(module)
            node.target = str(node.target).removeprefix(_ROOT)
            if isinstance(held, Tensor):
                constants[node.target] = held.detach()
    return graph, constants
