"""Capturing one time step of a module, from the module to its program."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, fx, nn

from snnconv.capture import first_run
from snnconv.capture.memories import (
    Memory,
    Several,
    memories_in_loops,
    memories_of,
    memories_of_dendrites,
)
from snnconv.capture.passes import PASSES
from snnconv.capture.samples_apart import ensure_samples_apart
from snnconv.capture.selection import Selection, selected
from snnconv.capture.slots import Call, Interface, Slot, stand_in
from snnconv.capture.starts import ensure_starts, with_starts
from snnconv.capture.tracing import leave_steps_open, trace
from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron, fitted
from snnconv.ir.passes import run_passes
from snnconv.ir.paths import ensure_paths
from snnconv.ir.program import (
    Origin,
    SpikingProgram,
    TimeContract,
    constants_used,
    neuron_calls,
    neuron_name,
    put,
    reads_spikes,
    tensors,
)
from snnconv.ir.time import Outputs
from snnconv.nn import reset

NO_NEURON = (
    "the network has no spiking neuron that its forward calls",
    "build it with snnconv.nn.LIF, or teach your own neuron with snnconv.adapters",
)


def _call_directly(net: nn.Module, x: Tensor) -> Outputs:
    return (net(x),)


def capture(
    module: nn.Module,
    neurons: Mapping[str, Neuron],
    contract: TimeContract,
    origin: Origin,
    call: Call = _call_directly,
    interfaces: Mapping[str, Interface] | None = None,
    several: Several | None = None,
    selection: Selection = "all",
) -> SpikingProgram:
    """Capture one time step of `module`, whose neurons are at the paths in `neurons`.

    The module itself is left as it was. Raises `Refused` if the step cannot be captured: it does not trace, calls a neuron twice,
    reads a membrane potential, computes with the batch size, or has layers whose names torch's graphs cannot hold. Raises
    `PassFailed` if one of snnconv's passes breaks on the graph.

    Args:
        call: how one step of the module is called on `x` `[B, ...]`.
        interfaces: how the network calls a neuron, for those that are not called in the plain way of `Interface()`.
        several: how it is called for several steps, if it loops over them itself and what it keeps from one to the next is to be
            kept: in local variables, or in what it makes anew in each call.
        selection: which of its memories are kept, if it keeps any.
    """
    net = copy.deepcopy(module).eval()
    reset(net)
    ensure_paths([*tensors(net), *neurons])
    if several is None:
        memories = memories_of(net, neurons, contract, call)
    else:
        memories = memories_in_loops(net, neurons, contract, several)
    memories = with_starts(net, memories, contract, call) if memories else []
    fresh = copy.deepcopy(net)
    slots = _stand_ins(net, list(neurons), contract, call, interfaces or {})
    running = first_run.neurons_that_run(net, slots, contract, call)
    if not running:
        raise Refused(*NO_NEURON)
    memories += memories_of_dendrites(running)
    fitting = {slot.path: fitted(neurons[slot.path], slot.shapes[0], slot.path) for slot in running}
    leave_steps_open(net, contract)
    shapes = {path: neuron.state_shape for path, neuron in fitting.items()}

    def traced(memories: list[Memory]) -> tuple[fx.Graph, dict[str, Tensor], dict[str, Memory]]:
        """The graph, its constants, and the memories that are left in it by their inputs."""
        graph, constants = trace(net, running, shapes, contract, call, memories)
        inputs = [node.name for node in graph.find_nodes(op="placeholder")][1 + len(running) :]
        graph = run_passes([(each.__name__, each) for each in PASSES], graph)
        left = {node.name for node in graph.find_nodes(op="placeholder")}
        return graph, constants, {name: memory for name, memory in zip(inputs, memories, strict=True) if name in left}

    graph, constants, kept = traced(memories)
    chosen = selected(graph, kept, selection)
    if len(chosen) < len(kept):
        graph, constants, kept = traced([kept[name] for name in chosen])
    calls = neuron_calls(graph)
    if not calls:
        raise Refused(*NO_NEURON)
    neurons = {neuron_name(call): _as_read(fitting[neuron_name(call)], call) for call in calls}
    if kept:
        ensure_starts(fresh, kept.values(), contract, call)
    recalled = {memory.name: memory.shape for memory in kept.values()}
    program = SpikingProgram(_module(graph, constants), neurons, contract, origin, memories=recalled)
    ensure_samples_apart(program)
    return program


def _stand_ins(
    net: nn.Module, paths: list[str], contract: TimeContract, call: Call, interfaces: Mapping[str, Interface]
) -> list[Slot]:
    """Put a stand-in into the place of every neuron of `net`."""
    carried = first_run.carried_attributes(net, paths, contract, call)
    slots = [Slot(path, interfaces.get(path, Interface()), carried[path]) for path in paths]
    for slot in slots:
        stand_in(net.get_submodule(slot.path), slot)
    return slots


def _as_read(neuron: Neuron, call: fx.Node) -> Neuron:
    """The neuron that `call` calls, silenced if nothing reads its spikes and they leave no trace."""
    traceless = not neuron.resets or neuron.never_fires
    carried = neuron.norm is not None and neuron.norm.carried
    return neuron.silenced() if traceless and not carried and not reads_spikes(call) else neuron


def _module(graph: fx.Graph, constants: Mapping[str, Tensor]) -> fx.GraphModule:
    """The graph with the constants that it reads. Raises `Refused` if it reads anything but tensors."""
    root = nn.Module()
    for path in constants_used(graph):
        if path not in constants:
            raise Refused(
                f"the network branches on values (it holds a graph of its own at {path})", "take the branch out of its forward"
            )
        put(root, path, constants[path])
    graph.lint()
    return fx.GraphModule(root, graph)
