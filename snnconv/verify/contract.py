"""What is checked always: time steps, kind and shape of the input, read-out."""

from __future__ import annotations

from snnconv.artifact.artifact import Foreign
from snnconv.ir.program import TimeContract
from snnconv.results import Check

_WORDS = {"timesteps": "timesteps", "input_shape": "input shape", "event": "event input", "readout": "read-out"}


def check_contract(expected: TimeContract, found: TimeContract) -> Check:
    """Whether an artifact expects over time what its source does."""
    unlike = [
        f"{word} is {getattr(found, name)} in the artifact, {getattr(expected, name)} in the source"
        for name, word in _WORDS.items()
        if getattr(found, name) != getattr(expected, name)
    ]
    if found.outputs != expected.outputs:
        unlike.append(f"outputs are {_listed(found)} in the artifact, {_listed(expected)} in the source")
    kind = "frames" if expected.event else "one image shown"
    read = f"outputs {_listed(expected)}" if expected.outputs else f"read-out {expected.readout}"
    agreed = f"T = {expected.timesteps}, {kind}, {read}"
    return Check("contract", "", not unlike, "; ".join(unlike) or agreed)


def _listed(contract: TimeContract) -> str:
    """The outputs with their read-outs, in words."""
    return ", ".join(f"{name or 'one'} ({readout})" for name, readout in contract.readouts.items())


def check_foreign(expected: TimeContract, found: Foreign) -> Check:
    """Whether a file that snnconv did not write takes what the source does."""
    misfit = found.misfit(expected)
    return Check("contract", "", not misfit, misfit or f"its input is of the shape {['batch', *expected.batch_shape(1)[1:]]}")
