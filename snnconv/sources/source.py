"""What every source gives: the model in its own framework's code, and its program."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snnconv.capture import capture
from snnconv.checkpoint import Checkpoint
from snnconv.nn import neurons, run
from snnconv.program import Drive, Origin, SpikingProgram, TimeContract
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

    def run(self, x: Tensor, drive: Drive | None = None) -> Tensor:
        """The model's output on `x` from a fresh state, by its own code where there is any.

        `drive(neuron, current, spikes)` sees every neuron at every step; spikes that it returns take the place of the neuron's
        own for the layers behind it.
        """
        contract = self.program.contract
        if self.module is None:
            return self.program.run(x, drive=drive)
        with torch.no_grad(), ExitStack() as hooks:
            for name in self.program.neurons if drive is not None else ():
                hook = self.module.get_submodule(name).register_forward_hook(_driving(name, drive))
                hooks.callback(hook.remove)
            return run(self.module, x, contract.timesteps, contract.readout, contract.event)

    def to(self, dtype: torch.dtype) -> Source:
        """The same source computing in `dtype`."""
        module = None if self.module is None else copy.deepcopy(self.module).to(dtype)
        return Source(self.program.to(dtype), module, self.notes)


def _driving(name: str, drive: Drive | None) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> Tensor | None:
        return None if drive is None else drive(name, inputs[0], spikes)

    return hook


def captured(module: nn.Module, arch: str, checkpoint: Checkpoint, contract: TimeContract, settle: Resolver) -> Source:
    """The source of a module whose neurons are `snnconv.nn.LIF`."""
    module = module.eval().requires_grad_(False)
    table = {name: neuron.neuron() for name, neuron in neurons(module).items()}
    origin = Origin(arch, checkpoint.sha256, settle.settled)
    return Source(capture(module, table, contract, origin), module, checkpoint.notes)
