"""What every source gives: the model in its own framework's code, and its program."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from snnconv.capture import capture
from snnconv.checkpoint import Checkpoint
from snnconv.nn import neurons, run
from snnconv.program import Origin, SpikingProgram, TimeContract
from snnconv.sources.options import Resolver


@dataclass(frozen=True)
class Source:
    """A loaded model.

    `module` computes one time step by its framework's own code; it is None for a program read back from a `.pt2`.
    `program` is captured from it and not folded. `notes` tells what was changed when the file was read.
    """

    program: SpikingProgram
    module: nn.Module | None
    notes: tuple[str, ...] = ()

    def run(self, x: Tensor) -> Tensor:
        """The model's output on `x`, by its own code where there is any."""
        if self.module is None:
            return self.program.run(x)
        contract = self.program.contract
        return run(self.module, x, contract.timesteps, contract.readout, contract.event)


def captured(module: nn.Module, arch: str, checkpoint: Checkpoint, contract: TimeContract, settle: Resolver) -> Source:
    """The source of a module whose neurons are `snnconv.nn.LIF`."""
    module = module.eval().requires_grad_(False)
    table = {name: neuron.neuron() for name, neuron in neurons(module).items()}
    origin = Origin(arch, checkpoint.sha256, settle.settled)
    return Source(capture(module, table, contract, origin), module, checkpoint.notes)
