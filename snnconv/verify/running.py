"""Running an artifact on samples, as many at once as it takes, and looking whether all that was asked for came out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snnconv.engines import Candidate, Observation, RunFailure
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import Outputs
from snnconv.results import OUTPUT, Check, output_layer


class ShapeMismatch(Exception):
    """A layer of the candidate has values of another shape than the source's."""

    def __init__(self, name: str, seen: tuple[int, ...] | str, expected: tuple[int, ...] | str) -> None:
        found, wanted = (text if isinstance(text, str) else str(list(text)) for text in (seen, expected))
        super().__init__(f"{name}: values are {found}, not {wanted}")
        self.name = name


def observe(candidate: Candidate, x: Tensor) -> Observation:
    """Observe `candidate` on `x` `[B, ...]`; an artifact of a fixed batch runs several times, the last filled up."""
    if candidate.batch is None:
        return candidate.observe(x)
    parts = [candidate.observe(part) for part in _batches(x, candidate.batch)]
    joined = [
        {
            name: [torch.cat(step)[: len(x)] for step in zip(*(getattr(p, kind)[name] for p in parts), strict=True)]
            for name in names
        }
        for kind, names in (("potentials", parts[0].potentials), ("spikes", parts[0].spikes), ("memories", parts[0].memories))
    ]
    y, *further = _joined([part.outputs for part in parts], len(x))
    potentials, spikes, memories = joined
    return Observation(y, potentials, spikes, memories, tuple(further))


def run_bare(candidate: Candidate, x: Tensor) -> Outputs:
    """The artifact's outputs on `x` as a device would run it, unwatched."""
    if candidate.batch is None:
        return candidate.outputs(x)
    return _joined([candidate.outputs(part) for part in _batches(x, candidate.batch)], len(x))


def _joined(parts: Sequence[Outputs], samples: int) -> Outputs:
    """The outputs of several runs as those of one of so many samples."""
    return tuple(torch.cat(each)[:samples] for each in zip(*parts, strict=True))


def _batches(x: Tensor, size: int) -> list[Tensor]:
    parts = list(x.split(size))
    missing = size - len(parts[-1])
    if missing:
        parts[-1] = torch.cat([parts[-1], x[:1].expand(missing, *x.shape[1:])])
    return parts


def check_shapes(program: SpikingProgram, batch: int, seen: Observation) -> None:
    """Raise `ShapeMismatch` unless every neuron was seen at every step, on `batch` samples."""
    steps = program.contract.timesteps
    unread = program.unread
    for name, shape in program.memories.items():
        found = [tuple(value.shape) for value in seen.memories.get(name, [])]
        wanted = [(batch, *shape)] * steps
        if found not in (wanted, wanted[: steps - unread.get(name, 0)]):
            raise ShapeMismatch(name, str(found), str(wanted))
    late = program.foresight
    for name, neuron in program.neurons.items():
        expected = (batch, *neuron.shape)
        for values in (seen.potentials.get(name, []), seen.spikes.get(name, [])):
            unlike = [tuple(step.shape) for step in values if tuple(step.shape) != expected]
            if unlike:
                raise ShapeMismatch(name, unlike[0], expected)
            if len(values) != steps and not (name in late and len(values) == steps - 1):
                raise ShapeMismatch(name, f"of {len(values)} steps", f"of {steps}")


def check_output_shapes(program: SpikingProgram, expected: Outputs, seen: Observation) -> None:
    """Raise `ShapeMismatch` unless the outputs that were seen are as many and of such shapes as is expected."""
    if len(seen.outputs) != len(expected):
        raise ShapeMismatch(OUTPUT, f"of {len(seen.outputs)} outputs", f"of {len(expected)}")
    for name, y, wanted in zip(program.contract.readouts, seen.outputs, expected, strict=True):
        if y.shape != wanted.shape:
            raise ShapeMismatch(output_layer(name), tuple(y.shape), tuple(wanted.shape))


def failure(error: RunFailure | ShapeMismatch) -> Check:
    """The failed check of an artifact that does not run as it should."""
    return Check("deployment", getattr(error, "name", ""), False, f"the artifact does not run as it should: {error}")
