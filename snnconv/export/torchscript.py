"""TorchScript: the lowered graph compiled by `torch.jit.script`, loadable without snnconv.

    sequence, one image       forward(x [B, C, H, W], timesteps: int | None = None) -> y
    sequence, frames          forward(x [B, T, C, H, W]) -> y, for any T
    step                      forward(x, state: dict[str, Tensor]) -> (y, next state); `initial_state(batch)` gives the first one

Of a network with several outputs, y is a tuple of them, in the order of the metadata's contract. What depends on that has no
annotation: `torch.jit.script` finds out.

Next to `forward`, `observe` also returns the potentials and spikes of every neuron. Weights and constants keep their paths in the
module's state-dict.
"""

from __future__ import annotations

import io
import json
import operator
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn

from snnconv.artifact.formats import Export, Format
from snnconv.artifact.script_archive import METADATA_FILE, version_of
from snnconv.artifact.script_file import read_script
from snnconv.errors import Refused, first_line
from snnconv.ir.dynamics import NeuronConstants, neuron_step
from snnconv.ir.neuron import POTENTIAL
from snnconv.ir.nodes import argument, operand, results
from snnconv.ir.program import TIME_STEP, share
from snnconv.lower import Lowered, ops

ByName = dict[str, Tensor]


def to_torchscript(export: Export) -> bytes:
    """The TorchScript archive of a lowered graph. The batch is always dynamic.

    Raises `Refused` for a fixed batch, for names that `torch.jit` cannot read back, and if an operator cannot be scripted.
    """
    if export.batch is not None:
        raise Refused("TorchScript takes any batch size, so --batch has nothing to fix", "leave it out")
    lowered = export.lowered
    unread = next((name for name in lowered.states if not name.isascii()), None)
    if unread is not None:
        raise Refused(f"TorchScript cannot read back the name of neuron '{unread}'", "rename it in ASCII, or export ONNX")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            scripted = torch.jit.script(_wrapper(lowered).eval())
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"TorchScript cannot compile the lowered network: {first_line(error)}") from error
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer, _extra_files={METADATA_FILE: json.dumps(export.metadata, sort_keys=True)})
    return _without_debug_files(buffer.getvalue())


def _wrapper(lowered: Lowered) -> nn.Module:
    if lowered.form == "step":
        return _StepModule(_step_body(lowered), lowered)
    body = _sequence_body(lowered)
    return _Frames(body) if lowered.contract.event else _Still(body, lowered.contract.timesteps)


class _Still(nn.Module):
    """One image shown at every step."""

    def __init__(self, body: nn.Module, timesteps: int) -> None:
        super().__init__()
        self.body, self.timesteps = body, timesteps

    def forward(self, x: Tensor, timesteps: int | None = None):
        """The output on images `[B, C, H, W]`, after as many steps as the network was made with or `timesteps`."""
        steps = self.timesteps if timesteps is None else timesteps
        potentials: dict[str, Tensor] = {}
        spikes: dict[str, Tensor] = {}
        return self.body(x, steps, False, potentials, spikes)

    @torch.jit.export
    def observe(self, x: Tensor, timesteps: int | None = None):
        """The same, and every neuron's potentials and spikes `[T * B, ...]`."""
        steps = self.timesteps if timesteps is None else timesteps
        potentials: dict[str, Tensor] = {}
        spikes: dict[str, Tensor] = {}
        y = self.body(x, steps, True, potentials, spikes)
        return y, potentials, spikes


class _Frames(nn.Module):
    """Frames, one per step."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor):
        """The output on frames `[B, T, C, H, W]`."""
        potentials: dict[str, Tensor] = {}
        spikes: dict[str, Tensor] = {}
        return self.body(x, x.shape[1], False, potentials, spikes)

    @torch.jit.export
    def observe(self, x: Tensor):
        """The same, and every neuron's potentials and spikes `[T * B, ...]`."""
        potentials: dict[str, Tensor] = {}
        spikes: dict[str, Tensor] = {}
        y = self.body(x, x.shape[1], True, potentials, spikes)
        return y, potentials, spikes


class _StepModule(nn.Module):
    """One time step; the caller keeps the state."""

    def __init__(self, body: nn.Module, lowered: Lowered) -> None:
        super().__init__()
        self.body = body
        self.shapes: dict[str, list[int]] = {name: list(shape) for name, shape in lowered.states.items()}
        self.counts_steps, self.counter = lowered.counts_steps, TIME_STEP

    @torch.jit.export
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The state before the first step: zeros, by the names of the neurons."""
        # torch.jit does not know [batch, *shape].
        state = {name: torch.zeros([batch] + shape) for name, shape in self.shapes.items()}  # noqa: RUF005
        if self.counts_steps:
            state[self.counter] = torch.zeros([batch], dtype=torch.int64)
        return state

    def forward(self, x: Tensor, state: dict[str, Tensor]):
        """The output on one frame `[B, C, H, W]` and the next state."""
        following: dict[str, Tensor] = {}
        potentials: dict[str, Tensor] = {}
        spikes: dict[str, Tensor] = {}
        return self.body(x, state, following, potentials, spikes), following

    @torch.jit.export
    def observe(self, x: Tensor, state: dict[str, Tensor]):
        """The same, and every neuron's potential and spikes `[B, ...]`."""
        following: dict[str, Tensor] = {}
        potentials: dict[str, Tensor] = {}
        spikes: dict[str, Tensor] = {}
        y = self.body(x, state, following, potentials, spikes)
        return y, following, potentials, spikes


def _walk(
    x: Tensor,
    k: NeuronConstants,
    name: str,
    timesteps: int,
    still: bool,
    observe: bool,
    potentials: dict[str, Tensor],
    spikes: dict[str, Tensor],
) -> Tensor:
    """All steps of a neuron: its spikes, noted like its potentials if anybody observes."""
    seen: list[Tensor] = []
    fired = ops.neuron_over_time(x, k, timesteps, still, seen)
    if observe:
        potentials[name] = torch.cat(seen)
        spikes[name] = fired
    return fired


def _walk_read(
    x: Tensor,
    k: NeuronConstants,
    name: str,
    timesteps: int,
    still: bool,
    observe: bool,
    potentials: dict[str, Tensor],
    spikes: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """The same for a neuron whose potentials the network computes with: its spikes and its potentials."""
    seen: list[Tensor] = []
    fired = ops.neuron_over_time(x, k, timesteps, still, seen)
    read = torch.cat(seen)
    if observe:
        potentials[name] = read
        spikes[name] = fired
    return fired, read


def _walk_once(
    x: Tensor,
    state: Tensor,
    k: NeuronConstants,
    name: str,
    observe: bool,
    potentials: dict[str, Tensor],
    spikes: dict[str, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """The next step of a neuron: spikes, next state and potential, noted behind those of the steps before."""
    u, fired, following = neuron_step(x, state, k)
    if observe:
        potentials[name] = torch.cat([potentials[name], u]) if name in potentials else u
        spikes[name] = torch.cat([spikes[name], fired]) if name in spikes else fired
    return fired, following, u


def _recall(value: Tensor, name: str, observe: bool, memories: dict[str, Tensor]) -> Tensor:
    """What the next step finds in a memory, noted behind what the steps before found."""
    if observe:
        memories[name] = torch.cat([memories[name], value]) if name in memories else value
    return value


def _of_steps(timesteps: int, made_for: int) -> int:
    """The number of steps, if it is the one that the network was unrolled for."""
    if timesteps != made_for:
        raise RuntimeError("a network with a loop over time is made for another number of steps")
    return timesteps


def _step(
    x: Tensor,
    state: dict[str, Tensor],
    k: NeuronConstants,
    name: str,
    following: dict[str, Tensor],
    potentials: dict[str, Tensor],
    spikes: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """One step of a neuron: its spikes and its potential, noted like its next state."""
    potentials[name], spikes[name], following[name] = neuron_step(x, state[name], k)
    return spikes[name], potentials[name]


def _keep(y: Tensor, following: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
    """The first output; notes on the way what the next step finds in a memory."""
    following[name] = value
    return y


def _count(state: dict[str, Tensor], following: dict[str, Tensor]) -> Tensor:
    """How many steps each sample has seen before this one."""
    following["time_step"] = state["time_step"] + 1
    return state["time_step"]


def _sequence_body(lowered: Lowered) -> fx.GraphModule:
    """The graph with its number of steps as an argument, so that any T runs, and an eye on the neurons."""
    module = share(lowered.graph)
    graph = module.graph
    x = next(iter(graph.find_nodes(op="placeholder")))
    x.type = Tensor
    with graph.inserting_after(x):
        spikes = graph.placeholder("spikes", type_expr=ByName)
        potentials = graph.placeholder("potentials", type_expr=ByName)
        observe = graph.placeholder("observe", type_expr=bool)
        timesteps = graph.placeholder("timesteps", type_expr=int)
    if graph.find_nodes(op="call_function", target=ops.RECALLED):
        with graph.inserting_after(spikes):
            timesteps = graph.call_function(_of_steps, (timesteps, lowered.contract.timesteps))
    for node in list(graph.nodes):
        if node.target is ops.NEURON_STEP:
            x, state, *constants, name = node.args
            node.args = (x, state, _constants(node, *constants), name, observe, potentials, spikes)
            node.target = _walk_once
        elif node.target is ops.RECALLED:
            node.args = (*node.args, observe, potentials)
            node.target = _recall
        elif node.target in ops.NEURONS_OVER_TIME:
            x, *constants, name, _, still = node.args
            node.args = (x, _constants(node, *constants), name, timesteps, still, observe, potentials, spikes)
            node.target = _walk if node.target is ops.NEURON_OVER_TIME else _walk_read
        elif node.target in (ops.REPEAT_TIME, ops.EACH_STEP, ops.REDUCE_TIME):
            node.args = (*node.args[:-1], timesteps)
    return _scriptable(module)


def _step_body(lowered: Lowered) -> fx.GraphModule:
    """The graph with its states in a dict by neuron."""
    module = share(lowered.graph)
    graph = module.graph
    x, *states = graph.find_nodes(op="placeholder")
    (y, *others), left = results(graph)
    neurons = {str(node.args[-1]) for node in graph.find_nodes(op="call_function", target=ops.NEURON_STEP)}
    kept = [(name, *pair) for name, *pair in zip(lowered.states, states, left, strict=False) if name not in neurons]
    x.type = Tensor
    with graph.inserting_after(x):
        spikes = graph.placeholder("spikes", type_expr=ByName)
        potentials = graph.placeholder("potentials", type_expr=ByName)
        following = graph.placeholder("following", type_expr=ByName)
        state = graph.placeholder("state", type_expr=ByName)
    for node in list(graph.nodes):
        if node.op == "output":
            with graph.inserting_before(node):
                for name, _, value in kept:
                    y = graph.call_function(_keep, (y, following, name, value))
            node.args = ((y, *others),)
        elif node.target is ops.NEURON_STEP:
            x, _, *constants, name = node.args
            node.args = (x, state, _constants(node, *constants), name, following, potentials, spikes)
            node.target = _step
    for node in graph.find_nodes(op="call_function", target=operator.getitem):
        if operand(node, 0).target is _step:
            node.args = (operand(node, 0), int(argument(node, 1) == POTENTIAL))
    if lowered.counts_steps:
        with graph.inserting_after(spikes):
            states[-1].replace_all_uses_with(graph.call_function(_count, (state, following)))
    for name, found, _ in kept:
        with graph.inserting_after(spikes):
            found.replace_all_uses_with(graph.call_function(operator.getitem, (state, name)))
    graph.eliminate_dead_code()
    for node in states:
        graph.erase_node(node)
    return _scriptable(module)


def _constants(call: fx.Node, tensors: Any, strict: Any, soft: Any) -> fx.Node:
    """The constants of a neuron as one value, in front of its call."""
    with call.graph.inserting_before(call):
        return call.graph.call_function(NeuronConstants, (*tensors, strict, soft))


def _scriptable(module: fx.GraphModule) -> fx.GraphModule:
    """What `torch.jit.script` can read: operators by name without overload, constants with flat names, one output alone."""
    for node in module.graph.nodes:
        if node.op == "call_function":
            target: Any = ops.FUNCTIONS.get(node.target, node.target)
            if isinstance(target, torch._ops.OpOverload):
                if target.namespace != "aten":
                    raise Refused(
                        f"TorchScript without the user's code has no operator {target}", "build it from torch's operators"
                    )
                target = target.overloadpacket
            node.target = target
        elif node.op == "output":
            (returned,) = node.args
            node.args = returned if len(returned) == 1 else (returned,)
    return fx.GraphModule(module, module.graph)


def _without_debug_files(archive: bytes) -> bytes:
    """Drop the records that map code to source lines: they hold absolute paths of this machine."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.set_min_version(version_of(reader))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in ("version", ".data/version", "byteorder", ".data/serialization_id"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return buffer.getvalue()


FORMAT = Format("torchscript", (".ts", ".torchscript"), to_torchscript, read_script)
