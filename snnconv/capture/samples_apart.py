"""Checking that the output of a sample does not depend on the other samples of its batch.

Running the samples of a batch together, or all steps of a run as one batch, gives the same as running them one by one only then.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from snnconv.errors import Refused, first_line, translated
from snnconv.ir.nodes import argument
from snnconv.ir.program import BATCH_NORM, SpikingProgram, is_random

ANY_BATCH = "leave the size of the batch out of its forward; squeeze() without a dimension drops a batch of one"
SAMPLES_APART = "leave the batch dimension alone: no mean, norm or product over it"
_TOLERANCE = 1e-9


def ensure_samples_apart(program: SpikingProgram) -> None:
    """Raise `Refused` unless one step gives a sample the same output alone as beside another one, in float64 on noise.

    A program that is not in inference form is left to folding, which refuses it with the reason.
    """
    if not is_in_inference_form(program):
        return
    exact, contract = program.to(torch.float64), program.contract
    x = torch.rand(contract.batch_shape(2), generator=torch.Generator().manual_seed(0)).double()
    one_step = replace(exact, contract=replace(contract, timesteps=1, event=False))
    x = x[:, 0] if contract.event else x
    with translated(_does_not_run, (RuntimeError,)):
        together = one_step.run(x)[1:]
    try:
        alone = one_step.run(x[1:])
    except RuntimeError as error:
        raise Refused(f"the network does not run on one sample: {first_line(error)}", ANY_BATCH) from error
    if together.shape != alone.shape or not torch.allclose(together, alone, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise Refused(
            "the output of a sample depends on the other samples of its batch",
            SAMPLES_APART,
        )


def _does_not_run(error: Exception) -> Refused:
    return Refused(
        f"one step of the network does not run in float64, in which it is checked: {first_line(error)}",
        "let it compute in one type of real numbers",
    )


def is_in_inference_form(program: SpikingProgram) -> bool:
    """Whether a program draws no random numbers and takes no statistics of its batch."""
    return not any(is_random(node) or (node.target is BATCH_NORM and argument(node, 5)) for node in program.graph.graph.nodes)
