"""`SpikingProgram`: one time step of a network as a graph, the table of its neurons, and its time contract."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.ir.default_type import numbers_in
from snnconv.ir.neuron import NEURON_OP, POTENTIAL, SPIKES, MembraneNorm, Neuron, Shape
from snnconv.ir.nodes import reached, results
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.starting import STARTING_FROM, starting_from
from snnconv.ir.time import Outputs, TimeContract
from snnconv.results import Site

ModulePath = str
TIME_STEP = "time_step"
"""The state that counts steps, if a step must know which one it is."""

Watch = Callable[[ModulePath, int, Tensor, Tensor], None]


@dataclass(frozen=True)
class Driven:
    """What the layers behind a neuron get at one step in place of its own: spikes and potential before firing, `[B, ...]`."""

    spikes: Tensor
    potential: Tensor


Drive = Callable[[ModulePath, Tensor, Tensor], Driven | None]
Recall = Callable[[str, int, Tensor], Tensor]

BATCH_NORM = torch.ops.aten.batch_norm.default
_FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Origin:
    """Where a program comes from: architecture, SHA-256 of the checkpoint file, and every setting with its own origin.

    `reference` says in words whose code a verdict on it rests on; it is empty in files written before it was kept. `keep_norms`
    are the norms that stay in the graph because the user said so, of `snnconv.words.NORMS`.
    """

    arch: str
    sha256: str
    settings: dict[str, str] = field(default_factory=dict)
    reference: str = ""
    keep_norms: tuple[str, ...] = ()


@dataclass(frozen=True)
class ThresholdProof:
    """What proves a folded threshold: the norm, the threshold and the comparison it replaces, and the kernel that was asked.

    The decision is monotone in the potential, so two evaluations a channel, at the cut and its neighbour, settle all 2^32 inputs.
    """

    norm: MembraneNorm
    threshold: Tensor
    strict: bool
    kernel: str


@dataclass(frozen=True)
class SpikingProgram:
    """One step of a network: `graph(x, *states) -> (*outputs, *next_states)`, its neurons in the order of the states, its
    contract, which names the outputs.

    Behind the states of the neurons are those of the `memories`, tensors `[B, *shape]` that the network keeps from step to step
    besides; all are 0 before the first step (`snnconv.ir.starting`).

    The graph holds plain aten operators, one `snnconv::neuron` per neuron, and `snnconv::at_step` behind each constant that
    changes from step to step; batch is the first dimension of every tensor and its size appears nowhere. What a state holds is in
    `snnconv.ir.neuron`; here it is only wired, from an input through its neuron to an output. After folding, `sites` and `proofs`
    say what was done, and `source` is the program before it.
    """

    graph: fx.GraphModule
    neurons: dict[ModulePath, Neuron]
    contract: TimeContract
    origin: Origin
    sites: tuple[Site, ...] = ()
    proofs: dict[ModulePath, ThresholdProof] = field(default_factory=dict)
    source: SpikingProgram | None = None
    memories: dict[str, Shape] = field(default_factory=dict)

    @property
    def folded(self) -> bool:
        """Whether this is the outcome of folding."""
        return self.source is not None

    def to(self, dtype: torch.dtype) -> SpikingProgram:
        """The same program computing in `dtype`, sharing nothing that is converted."""
        graph = share(self.graph)
        for path, tensor in tensors(graph).items():
            if tensor.is_floating_point():
                put(graph, path, tensor.to(dtype))
        for node in graph.graph.nodes:
            cast = fx.node.map_aggregate((node.args, node.kwargs), lambda a: dtype if a in _FLOATS else a)
            node.args, node.kwargs = cast
        graph.recompile()
        moved = {name: neuron.to(dtype) for name, neuron in self.neurons.items()}
        return replace(self, graph=graph, neurons=moved)

    @property
    def remembers(self) -> bool:
        """Whether a step computes with more of the steps before than spikes: with potentials, or with memories."""
        return bool(self.memories) or reads_potentials(self.graph.graph)

    @property
    def holds_norms(self) -> bool:
        """Whether a batch norm or a membrane norm is left."""
        left = any(node.target is BATCH_NORM for node in self.graph.graph.nodes)
        return left or any(neuron.norm is not None for neuron in self.neurons.values())

    @property
    def counts_steps(self) -> bool:
        """Whether a constant changes from step to step, or a memory does not start from 0: a step must know which one it is."""
        left = any(node.target in (AT_STEP, STARTING_FROM) for node in self.graph.graph.nodes)
        return left or any(neuron.per_step for neuron in self.neurons.values())

    @property
    def dtype(self) -> torch.dtype:
        """In which type its neurons compute."""
        return next(iter(self.neurons.values())).threshold.dtype

    def leaks(self, name: ModulePath) -> bool:
        """Whether a neuron has a leak other than 1. One that a norm left may only round to 1, and in float64 it is another."""
        made = name in self.proofs and self.proofs[name].norm.carried
        return made or bool((self.neurons[name].leak != 1).any())

    @property
    def foresight(self) -> frozenset[ModulePath]:
        """The neurons that a step runs for the steps behind it alone: at the last step nothing reads them."""
        found = reached(results(self.graph.graph).outputs, lambda node: node.all_input_nodes)
        return frozenset(neuron_name(call) for call in neuron_calls(self.graph.graph) if call not in found)

    @property
    def unread(self) -> dict[str, int]:
        """In how many steps at the end of a run nothing reads a memory: only other states do, for the steps behind."""
        needed, following = results(self.graph.graph)
        states = list(self.graph.graph.find_nodes(op="placeholder"))[1:]
        names = dict(zip(states[len(self.neurons) :], self.memories, strict=False))
        found: dict[str, int] = {}
        ahead = 0
        while len(found) < len(names):
            read = reached(needed, lambda node: node.all_input_nodes)
            found |= {name: ahead for state, name in names.items() if state in read and name not in found}
            further = [value for state, value in zip(states, following, strict=True) if state in read and value not in needed]
            if not further:
                break
            needed, ahead = [*needed, *further], ahead + 1
        return found

    @property
    def state_shapes(self) -> dict[str, Shape]:
        """The shape of every state of one sample, by the name of its neuron or memory, in the order of the graph."""
        return {**{name: neuron.state_shape for name, neuron in self.neurons.items()}, **self.memories}

    def run(self, x: Tensor, watch: Watch | None = None, drive: Drive | None = None, recall: Recall | None = None) -> Tensor:
        """The first of the `outputs` on `x`, which is the only one of most networks."""
        return self.outputs(x, watch, drive, recall)[0]

    def outputs(self, x: Tensor, watch: Watch | None = None, drive: Drive | None = None, recall: Recall | None = None) -> Outputs:
        """Run from a fresh state, step by step, over `x` as the contract says, and read out: each `[B, K]`, or `[B, T, K]`.

        `watch(neuron, step, potential, spikes)` is called for every neuron at every step. `drive(neuron, current, spikes)` as
        well; what it returns takes the place of the neuron's own for the layers behind it. `recall(memory, step, value)` gives
        what a step finds in a memory.
        """
        states: dict[ModulePath, Tensor | None] = dict.fromkeys(self.neurons)
        kept = {name: x.new_zeros(len(x), *shape, dtype=self.dtype) for name, shape in self.memories.items()}

        def step(frame: Tensor, t: int) -> Outputs:
            found = kept if recall is None else {name: recall(name, t, value) for name, value in kept.items()}
            runs = _StepOfProgram(self, states, t, watch, drive)
            returned = runs.run(frame, *[None] * len(states), *found.values())
            outputs = returned[: len(returned) - len(states) - len(kept)]
            kept.update(zip(self.memories, returned[len(outputs) + len(states) :], strict=True))
            return outputs

        with torch.no_grad(), numbers_in(self.dtype):
            return self.contract.run(step, x)


class _StepOfProgram(fx.Interpreter):
    """Runs one step of a program on tensors of its own: `states`, by neuron and None before the first step, are read and replaced
    there; the graph's inputs and outputs for them stay unused."""

    def __init__(
        self, program: SpikingProgram, states: dict[ModulePath, Tensor | None], t: int, watch: Watch | None, drive: Drive | None
    ) -> None:
        super().__init__(program.graph)
        self.neurons, self.states, self.t, self.watch, self.drive = program.neurons, states, t, watch, drive

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if target is AT_STEP:
            return args[0][self.t]
        if target is STARTING_FROM:
            return starting_from(args[0], args[1], self.t)
        if target is not NEURON_OP:
            return super().call_function(target, args, kwargs)
        current, _, name = args
        u, spikes, self.states[name] = self.neurons[name].step(current, self.states[name], self.t)
        if self.watch is not None:
            self.watch(name, self.t, u, spikes)
        driven = None if self.drive is None else self.drive(name, current, spikes)
        seen = Driven(spikes, u) if driven is None else driven
        return seen.spikes, self.states[name], seen.potential

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
        return args[0]


def tensors(graph: torch.nn.Module) -> dict[ModulePath, Tensor]:
    """Every constant of a graph, or parameter and buffer of a module, by its path."""
    named = (graph.named_parameters(remove_duplicate=False), graph.named_buffers(remove_duplicate=False))
    return {path: value for listed in named for path, value in listed}


def put(module: torch.nn.Module, path: ModulePath, tensor: Tensor) -> None:
    """Set the constant at `path`, making the submodules on the way."""
    *parents, leaf = path.split(".")
    for name in parents:
        if not hasattr(module, name):
            module.add_module(name, torch.nn.Module())
        module = getattr(module, name)
    if leaf in module._parameters:
        del module._parameters[leaf]
    module.register_buffer(leaf, tensor.detach())


def share(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of a graph that can be rewritten while its constants are shared with the original."""
    fresh = fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    fresh.output(fresh.graph_copy(graph.graph, env))
    root, held = torch.nn.Module(), tensors(graph)
    for path in constants_used(graph.graph):
        put(root, path, held[path])
    copied = fx.GraphModule(root, fresh)
    copied.meta = copy.copy(graph.meta)
    return copied


def constants_used(graph: fx.Graph) -> Iterator[ModulePath]:
    """The paths a graph reads, each once."""
    yield from dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "get_attr")


def is_random(node: fx.Node) -> bool:
    """Whether an operator draws random numbers; a dropout at inference does not, nor attention that drops nothing."""
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    switches = [(i, a) for i, a in enumerate(node.target._schema.arguments) if a.name in ("train", "training", "dropout_p")]
    given = [node.args[i] if i < len(node.args) else node.kwargs.get(a.name, a.default_value) for i, a in switches]
    return not given or any(given)


def reads_potentials(graph: fx.Graph) -> bool:
    """Whether a step graph computes with the potential of a neuron."""
    return any(map(reads_potential, neuron_calls(graph)))


def reads_potential(call: fx.Node) -> bool:
    """Whether a step graph computes with the potential of the neuron that `call` calls."""
    return any(_part(value) == POTENTIAL for value in call.users)


def reads_spikes(call: fx.Node) -> bool:
    """Whether a step graph computes with the spikes of the neuron that `call` calls."""
    return any(_part(value) == SPIKES for value in call.users)


def _part(value: fx.Node) -> int:
    """Which of the things that a neuron gives `value` takes."""
    return int(value.args[1])  # type: ignore[arg-type]


def neuron_name(call: fx.Node) -> ModulePath:
    """Which neuron of the table a call in a step graph is."""
    return str(call.args[2])


def neuron_calls(graph: fx.Graph) -> list[fx.Node]:
    """The neurons of a graph in the order in which they run."""
    return [node for node in graph.nodes if node.op == "call_function" and node.target is NEURON_OP]
