"""A folded program, `.pt2`, as an artifact: it is verified like any other, as one time step."""

from __future__ import annotations

from dataclasses import dataclass

from snnconv.artifact.metadata import Metadata, describe
from snnconv.errors import InputError
from snnconv.files import Content
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram


@dataclass(frozen=True)
class ProgramFile:
    """A folded program that was read."""

    program: SpikingProgram
    sha256: str
    metadata: Metadata
    format: str = "pt2"

    def structure(self) -> list[str]:
        """The nodes of its graph and the settings of its neurons, line by line."""
        return pt2.outline(self.program)


def read_program(content: Content) -> ProgramFile:
    """Read a folded program. Raises `InputError` for one that still holds its norms."""
    program = pt2.decode(content)
    if not program.folded:
        raise InputError(f"{content.path}: is not folded", "fold it first: snnconv fold SOURCE -o F.pt2")
    return program_file(program, content.sha256)


def program_file(program: SpikingProgram, sha256: str = "") -> ProgramFile:
    """A program as the artifact that a file of it would be."""
    neurons = {name: neuron.state_shape for name, neuron in program.neurons.items()}
    said, source = describe(program, "step", None), program.origin.sha256
    metadata = Metadata(
        "step", None, program.contract, neurons, program.counts_steps, source, document=said, memories=program.memories
    )
    return ProgramFile(program, sha256, metadata)
