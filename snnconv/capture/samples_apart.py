"""Checking that the output of a sample does not depend on the other samples of its batch.

Running the samples of a batch together, or all steps of a run as one batch, gives the same as running them one by one only then.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from snnconv.errors import Refused, first_line, translated
from snnconv.ir.nodes import argument
from snnconv.ir.program import BATCH_NORM, SpikingProgram, is_random

ANY_BATCH = "leave the size of the batch out of its forward; squeeze() without a dimension drops a batch of one"
SAMPLES_APART = "leave the batch dimension alone: no mean, norm or product over it"
_TOLERANCE = 1e-9
_SIZES = (-1.0, 1e3, -1e6, 1e6, 1.0)
"""Of the samples of a batch: a bound far away hides what others do to the last one. They are odd, so that shifts move them."""


def ensure_samples_apart(program: SpikingProgram) -> None:
    """Raise `Refused` unless one step gives a sample the same potentials and output alone as beside others, in float64 on noise.

    A program that is not in inference form is left to folding, which refuses it with the reason.
    """
    if not is_in_inference_form(program):
        return
    exact, contract = program.to(torch.float64), program.contract
    one_step = replace(exact, contract=replace(contract, timesteps=1, event=False))
    noise = torch.rand(len(_SIZES), *contract.input_shape, generator=torch.Generator().manual_seed(0)).double()
    _ensure_apart(one_step, noise)
    wide = noise * noise.new_tensor(_SIZES).reshape(-1, *[1] * len(contract.input_shape))
    try:
        one_step.run(wide)
    except (RuntimeError, IndexError):  # it takes none of these sizes, as one does that looks its inputs up
        return
    _ensure_apart(one_step, wide)


def _ensure_apart(one_step: SpikingProgram, x: Tensor) -> None:
    with translated(_does_not_run, (RuntimeError,)):
        together = _of_last_sample(one_step, x)
    try:
        alone = _of_last_sample(one_step, x[-1:])
    except RuntimeError as error:
        raise Refused(f"the network does not run on one sample: {first_line(error)}", ANY_BATCH) from error
    if not all(map(_close, together, alone)):
        raise Refused("the output of a sample depends on the other samples of its batch", SAMPLES_APART)


def _of_last_sample(one_step: SpikingProgram, x: Tensor) -> list[Tensor]:
    """The potential of every neuron and the outputs, of the last sample of `x`."""
    seen: list[Tensor] = []
    outputs = one_step.outputs(x, watch=lambda neuron, step, potential, spikes: seen.append(potential[-1:]))
    return [*seen, *(y[-1:] for y in outputs)]


def _close(some: Tensor, others: Tensor) -> bool:
    if some.shape != others.shape or not some.numel():
        return some.shape == others.shape
    scale = max(1.0, others.abs().amax().item())
    return torch.allclose(some, others, _TOLERANCE, _TOLERANCE * scale, equal_nan=True)


def _does_not_run(error: Exception) -> Refused:
    return Refused(
        f"one step of the network does not run in float64, in which it is checked: {first_line(error)}",
        "let it compute in one type of real numbers",
    )


def is_in_inference_form(program: SpikingProgram) -> bool:
    """Whether a program draws no random numbers and takes no statistics of its batch."""
    return not any(is_random(node) or (node.target is BATCH_NORM and argument(node, 5)) for node in program.graph.graph.nodes)
