"""From a one-step module to a `SpikingProgram`: `torch.export` with the state made explicit and the batch left open."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from snnconv.capture.clean import clean
from snnconv.capture.slots import Slot, attributes, changed, stand_in
from snnconv.errors import Refused, SnnconvError, first_line
from snnconv.ir.neuron import Neuron, fitted
from snnconv.ir.paths import ensure_paths
from snnconv.ir.per_step import EntryAt, ensure_steps
from snnconv.ir.program import (
    BATCH_NORM,
    Origin,
    SpikingProgram,
    TimeContract,
    constants_used,
    is_random,
    neuron_calls,
    put,
    tensors,
)
from snnconv.nn import PerStep, reset
from snnconv.user_code import UserCodeError, described, running_user_code

ANY_BATCH = "leave the size of the batch out of its forward; squeeze() without a dimension drops a batch of one"
_MISSHAPEN = re.compile(r"shape|size|dimension|channel|element|multiplied|\dD", re.IGNORECASE)
"""What an error says that another shape of the input may help against."""


class _Step(nn.Module):
    """A module with slots, as a function of input and states."""

    def __init__(self, net: nn.Module, slots: list[Slot], call: Call) -> None:
        super().__init__()
        self.net = net
        self._slots, self._call = (slots,), call

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        slots = self._slots[0]
        for slot, state in zip(slots, states, strict=True):
            slot.carried = state
        y = self._call(self.net, x)
        following = [slot.carried for slot in slots]
        for slot in slots:
            slot.carried = None
        return (y, *following)


Call = Callable[[nn.Module, Tensor], Tensor]


def _called(net: nn.Module, x: Tensor) -> Tensor:
    return net(x)


def capture(
    module: nn.Module,
    neurons: dict[str, Neuron],
    contract: TimeContract,
    origin: Origin,
    call: Call = _called,
    has_time_axis: Collection[str] = (),
    states: Mapping[str, int] | None = None,
) -> SpikingProgram:
    """Capture one time step of `module`, whose neurons sit at the paths in `neurons`.

    The module itself is left as it was. Raises `Refused` where the step cannot be captured: it does not trace, calls a neuron
    twice, reads a membrane potential, computes with the batch size, or has layers whose names torch's graphs cannot hold.

    Args:
        call: how one step of the module is called on `x` `[B, ...]`.
        has_time_axis: neurons that are called with `[1, B, ...]`.
        states: how many states a neuron returns besides its spikes, where it does.
    """
    net, states = copy.deepcopy(module).eval(), states or {}
    reset(net)
    ensure_paths([*tensors(net), *neurons])
    hidden = _changing(net, neurons, contract, call)
    slots = [Slot(name, name in has_time_axis, states.get(name, 0), hidden[name]) for name in neurons]
    for slot in slots:
        stand_in(net.get_submodule(slot.path), slot)
    used = _shapes(net, slots, contract, call)
    if not used:
        raise Refused(*_NO_NEURON)
    _leave_steps_open(net, contract)
    table = {slot.path: fitted(neurons[slot.path], slot.shapes[0], slot.path) for slot in used}
    graph = _flatten(_export(net, used, {name: neuron.state_shape for name, neuron in table.items()}, contract, call))
    read = [str(node.args[2]) for node in neuron_calls(graph.graph)]
    if not read:
        raise Refused(*_NO_NEURON)
    program = SpikingProgram(
        graph=graph,
        neurons={name: table[name] for name in read},
        contract=contract,
        origin=origin,
    )
    _ensure_samples_stay_apart(program)
    return program


_NO_NEURON = (
    "the network has no spiking neuron that its forward calls",
    "build it with snnconv.nn.LIF, or teach your own neuron with snnconv.adapters",
)


def _changing(net: nn.Module, neurons: Collection[str], contract: TimeContract, call: Call) -> dict[str, frozenset[str]]:
    """The attributes of every neuron that one step of a copy of `net` changes: what it carries, under whatever name.

    A network that does not run has none; what is wrong with it is found where it runs with slots, or as a whole.
    """
    probe = copy.deepcopy(net)
    before = {name: attributes(probe.get_submodule(name)) for name in neurons}
    with suppress(Refused):
        _run_once(probe, contract, call)
    return {name: changed(before[name], attributes(probe.get_submodule(name))) for name in neurons}


def _leave_steps_open(net: nn.Module, contract: TimeContract) -> None:
    """Let layers with constants per step leave `snnconv::at_step` in the graph. Raises `Refused` where they know too few."""
    for name, layer in net.named_modules():
        if isinstance(layer, PerStep):
            ensure_steps(name, layer.timesteps, contract.timesteps)
            layer.forward = partial(layer.at_step, at=torch.ops.snnconv.at_step)  # type: ignore[method-assign]


def _run_once(net: nn.Module, contract: TimeContract, call: Call) -> Any:
    """What one step of `net` gives for a blank batch of 2. Raises `Refused` if it does not run."""
    try:
        with torch.no_grad(), EntryAt(0), running_user_code("the network", "one step of its forward"):
            return call(net, torch.zeros(2, *contract.input_shape))
    except UserCodeError as error:
        cause = error.__cause__ or error
        raise Refused(
            f"one step of the network does not run on an input of shape {list(contract.input_shape)}: {described(cause)}",
            "give the shape of one frame with --input-shape C,H,W" if _MISSHAPEN.search(described(cause)) else "",
        ) from cause


def _shapes(net: nn.Module, slots: list[Slot], contract: TimeContract, call: Call) -> list[Slot]:
    """Run once to learn which neurons run, in which order, on which shapes."""
    order: list[Slot] = []
    for slot in slots:
        slot.order = order
    y = _run_once(net, contract, call)
    if not isinstance(y, Tensor) or not y.is_floating_point() or y.dim() < 2 or len(y) != 2:
        what = f"{y.dtype} of shape {list(y.shape)} for a batch of 2" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise Refused(
            f"the network returns {what}", "its forward must return one float tensor [B, K], the output of one time step"
        )
    for slot in slots:
        if len(slot.shapes) == contract.timesteps > 1:
            raise Refused(
                f"neuron {slot.path} is called {len(slot.shapes)} times: the network's forward loops over the time steps itself",
                "give a network whose forward is the inside of that loop; it may be handed its states and return them",
            )
        if len(slot.shapes) > 1:
            raise Refused(
                f"neuron {slot.path} is called {len(slot.shapes)} times in one time step and would share its potential",
                "give each place its own neuron",
            )
        if slot.shapes and slot.rows != 2:
            raise Refused(
                f"neuron {slot.path} is given {slot.rows} rows for a batch of 2: other dimensions are merged into the batch",
                "merge them behind the neuron, or keep them as dimensions of their own",
            )
    return order


def _export(
    net: nn.Module, slots: list[Slot], shapes: dict[str, tuple[int, ...]], contract: TimeContract, call: Call
) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    states = [torch.zeros(2, *shapes[slot.path]) for slot in slots]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(
                _Step(net, slots, call),
                (torch.zeros(2, *contract.input_shape), *states),
                dynamic_shapes={"x": {0: batch}, "states": tuple({0: batch} for _ in states)},
            )
    except SnnconvError:
        raise
    except Exception as error:
        raise Refused(
            f"torch.export cannot capture one step of the network: {described(error)}",
            "its forward must be one time step, without branches on values and with any batch size",
        ) from error


def _flatten(exported: torch.export.ExportedProgram) -> fx.GraphModule:
    """The exported step as a flat graph over `x` and the states, its constants at their own paths, the batch size nowhere."""
    module = exported.module(check_guards=False)
    graph = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    returned = graph.graph_copy(module.graph, env)
    graph.output(tuple(returned) if isinstance(returned, list | tuple) else (returned,))
    for node in graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
        if node.op == "get_attr":
            node.target = str(node.target).removeprefix("net.")
    clean(graph)
    held = {path.removeprefix("net."): value for path, value in tensors(module).items()}
    root = nn.Module()
    for path in constants_used(graph):
        if path not in held:
            raise Refused(
                f"the network branches on values (it holds a graph of its own at {path})", "take the branch out of its forward"
            )
        put(root, path, held[path])
    graph.lint()
    return fx.GraphModule(root, graph)


def _ensure_samples_stay_apart(program: SpikingProgram) -> None:
    """Raise `Refused` where the output of a sample depends on the other samples of its batch: steps could not be merged then."""
    if not is_settled(program):
        return
    exact, contract = program.to(torch.float64), program.contract
    x = torch.rand(contract.batch_shape(2), generator=torch.Generator().manual_seed(0)).double()
    once = replace(exact, contract=replace(contract, timesteps=1, event=False))
    x = x[:, 0] if contract.event else x
    together = once.run(x)[1:]
    try:
        alone = once.run(x[1:])
    except RuntimeError as error:
        raise Refused(f"the network does not run on one sample: {first_line(error)}", ANY_BATCH) from error
    if together.shape != alone.shape or not torch.allclose(together, alone, rtol=1e-9, atol=1e-9):
        raise Refused(
            "the output of a sample depends on the other samples of its batch",
            "leave the batch dimension alone: no mean, norm or product over it",
        )


def is_settled(program: SpikingProgram) -> bool:
    """Whether a program holds neither random numbers nor norms by the batch; folding refuses both, and says which."""
    return not any(is_random(node) or (node.target is BATCH_NORM and node.args[5]) for node in program.graph.graph.nodes)
