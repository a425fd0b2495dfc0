"""The rounding error of an operator for which the table knows no rule: measured, on the very inputs that it has in this run.

The source's step runs in its own precision, step by step, on the spikes of the artifact. Each such operator is then evaluated
again on its own inputs:

    own       in float64: how far float32 was from it; another correct computation may err up to `FACTOR` times as much
    passed    in float64 on inputs moved by as much as rounding may have moved them, up or down at random (seeded)

The largest `own` of the tensor and the median of `passed` count everywhere, up to `LIMIT` of the largest value; what an element
was itself seen to move comes on top. So a wide bound stays with the few elements that need it, near a tie of a rounding to
integers, say, or divided by nearly 0. The artifact's own graph has no part in this: an error of that graph makes no bound wider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from snnconv.errors import Refused, first_line
from snnconv.ir.default_type import numbers_in
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import SpikingProgram
from snnconv.ir.starting import STARTING_FROM, starting_from

FACTOR = 16.0
LIMIT = 2.0**-10
UNREAD: Mapping[str, Sequence[Tensor]] = {}
"""The potentials to give a graph that reads none."""
_FLOATS = (torch.float32, torch.float64)


class Inputs(fx.Interpreter):
    """Runs a step of a source on given spikes and keeps what some operators read.

    After `see` of every step, `of[node]` holds one entry per step: the values of the inputs of `node`, by their nodes.
    """

    def __init__(self, program: SpikingProgram, watched: Sequence[fx.Node]) -> None:
        super().__init__(program.graph)
        self._states = [None] * len(program.neurons)
        self._memories = tuple(program.memories)
        self._watched = frozenset(watched)
        self._step, self._spikes, self._potentials = 0, dict[str, Tensor](), dict[str, Tensor]()
        self.of: dict[fx.Node, list[dict[fx.Node, Any]]] = {}

    def see(
        self,
        frames: Sequence[Tensor],
        spikes: Mapping[str, Sequence[Tensor]],
        potentials: Mapping[str, Sequence[Tensor]] = UNREAD,
        memories: Mapping[str, Sequence[Tensor]] = UNREAD,
    ) -> None:
        """Run every step on its frame `[B, ...]`, each neuron with the spikes and potentials `[B, ...]` given for the step, and
        on what the step finds in the memories."""
        self.of = {node: [] for node in self._watched}
        if not self._watched:
            return
        for t, frame in enumerate(frames):
            self._step, self._spikes = t, {name: _at(fired, t).to(frame.dtype) for name, fired in spikes.items()}
            self._potentials = {name: _at(us, t) for name, us in potentials.items()}
            self.run(frame, *self._states, *(memories[name][min(t, len(memories[name]) - 1)] for name in self._memories))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and keep its inputs if it is watched."""
        if n in self._watched:
            self.of[n].append({a: self.env[a] for a in n.all_input_nodes})
        return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Take what is given in the place of what a neuron gives, and a constant's entry at the step that runs."""
        if target is AT_STEP:
            return args[0][self._step]
        if target is STARTING_FROM:
            return starting_from(args[0], args[1], self._step)
        if target is NEURON_OP:
            return self._spikes[args[2]], None, self._potentials.get(args[2])
        return super().call_function(target, args, kwargs)


def _at(steps: Sequence[Tensor], t: int) -> Tensor:
    """The value at a step; of a neuron that was not seen at the last one, because nothing reads it there, any."""
    return steps[min(t, len(steps) - 1)]


@dataclass(frozen=True)
class Spread:
    """One tensor that an operator gave, over some steps.

    Attributes:
        value: at the last of them.
        largest: the largest finite magnitude.
        own: how far float32 was from float64 on the same inputs, at most.
        passed: `[B, ...]`, how far each element moved with the inputs.
    """

    value: Tensor
    largest: float
    own: float
    passed: Tensor

    def then(self, later: Spread) -> Spread:
        """This and what a later step gave, as one."""
        largest, own = max(self.largest, later.largest), max(self.own, later.own)
        return Spread(later.value, largest, own, torch.maximum(self.passed, later.passed))

    @property
    def error(self) -> Tensor:
        """How far two computations of each element `[B, ...]` may lie apart: at most as far as two such values can."""
        typical = float(self.passed.median()) if self.passed.numel() else 0.0
        everywhere = min(LIMIT * self.largest, FACTOR * self.own + typical)
        return (self.passed + everywhere).clamp(max=2 * self.largest)


def measure(node: fx.Node, steps: Sequence[Mapping[fx.Node, Any]], moved: Mapping[fx.Node, Tensor]) -> list[Spread]:
    """How far two computations of each tensor that `node` gives may lie apart.

    `steps` are the values of its inputs at every step, and `moved` says how far rounding may have moved those `[B, ...]` that
    depend on the network's input. Raises `Refused` if the operator does not run in float64.
    """
    found: list[Spread] = []
    for values in steps:
        step = _measured_once(node, values, moved)
        found = [before.then(now) for before, now in zip(found, step, strict=True)] if found else step
    return found


def _measured_once(node: fx.Node, values: Mapping[fx.Node, Any], moved: Mapping[fx.Node, Tensor]) -> list[Spread]:
    wide = {a: _wide(value) for a, value in values.items()}
    try:
        exact = _call(node, wide, torch.float64)
        shifted = [_call(node, {**wide, **_shifted(wide, moved, sign)}, torch.float64) for sign in (1, -1)]
    except RuntimeError as error:
        raise Refused(
            f"no rounding bound is known for {node.target}, and it does not run in float64: {first_line(error)}",
            "give it a row in the table of operators (snnconv.ir.operators)",
        ) from error
    results = zip(exact, _call(node, values), *shifted, strict=True)
    return [_spread(*result) for result in results]


def _spread(exact: Tensor, narrow: Tensor, up: Tensor, down: Tensor) -> Spread:
    own = _apart(exact, narrow)
    passed = torch.maximum(_apart(exact, up), _apart(exact, down))
    return Spread(narrow, _size(exact), float(own.max()) if own.numel() else 0.0, passed)


def _call(node: fx.Node, values: Mapping[fx.Node, Any], dtype: torch.dtype | None = None) -> list[Tensor]:
    """Every tensor that `node` gives on `values`, its own numbers and types of numbers turned to `dtype`."""

    def as_wanted(argument: Any) -> Any:
        return dtype if dtype is not None and argument in _FLOATS else argument

    target: Any = node.target
    args, kwargs = fx.node.map_aggregate(
        (node.args, node.kwargs), lambda a: values[a] if isinstance(a, fx.Node) else as_wanted(a)
    )
    with numbers_in(dtype or torch.get_default_dtype()):
        return list(_tensors(target(*args, **kwargs)))


def _tensors(result: Any) -> Iterator[Tensor]:
    """The tensors of a result, which is one, or a tuple or list of some."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for part in result:
            yield from _tensors(part)


def _wide(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _shifted(wide: Mapping[fx.Node, Any], moved: Mapping[fx.Node, Tensor], sign: int) -> dict[fx.Node, Tensor]:
    generator = torch.Generator().manual_seed(0)
    signs = {a: torch.randint(0, 2, by.shape, generator=generator) * 2 - 1 for a, by in moved.items()}
    return {a: wide[a] + sign * signs[a] * by for a, by in moved.items()}


def _size(y: Tensor) -> float:
    """The largest finite magnitude."""
    finite = y.abs()[y.isfinite()] if y.is_floating_point() else y.new_zeros(0)
    return float(finite.max()) if finite.numel() else 0.0


def _apart(exact: Tensor, other: Tensor) -> Tensor:
    """The difference of each element where the exact value is finite; infinite if the other one is no number there."""
    if not exact.is_floating_point():
        return torch.zeros(exact.shape, dtype=torch.float64)
    return torch.where(exact.isfinite(), (other.double() - exact).abs(), 0.0).nan_to_num(torch.inf, torch.inf)
