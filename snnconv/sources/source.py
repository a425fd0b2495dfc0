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
from snnconv.program import Origin, SpikingProgram, TimeContract
from snnconv.sources.options import Resolver

Watch = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class Source:
    """A loaded model.

    `module` computes one time step by its framework's own code; it is None for a program read back from a `.pt2`.
    `program` is captured from it and not folded. `notes` tells what was changed when the file was read.
    """

    program: SpikingProgram
    module: nn.Module | None
    notes: tuple[str, ...] = ()

    def run(self, x: Tensor, watch: Watch | None = None) -> Tensor:
        """The model's output on `x`, by its own code where there is any; `watch(neuron, spikes)` sees every step."""
        contract = self.program.contract
        if self.module is None:
            return self.program.run(x, None if watch is None else lambda name, step, u, spikes: watch(name, spikes))
        with torch.no_grad(), ExitStack() as hooks:
            for name in self.program.neurons if watch is not None else ():
                hook = self.module.get_submodule(name).register_forward_hook(_reporting(name, watch))
                hooks.callback(hook.remove)
            return run(self.module, x, contract.timesteps, contract.readout, contract.event)

    def to(self, dtype: torch.dtype) -> Source:
        """The same source computing in `dtype`."""
        module = None if self.module is None else copy.deepcopy(self.module).to(dtype)
        return Source(self.program.to(dtype), module, self.notes)


def _reporting(name: str, watch: Watch | None) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, spikes: Tensor) -> None:
        if watch is not None:
            watch(name, spikes)

    return hook


def captured(module: nn.Module, arch: str, checkpoint: Checkpoint, contract: TimeContract, settle: Resolver) -> Source:
    """The source of a module whose neurons are `snnconv.nn.LIF`."""
    module = module.eval().requires_grad_(False)
    table = {name: neuron.neuron() for name, neuron in neurons(module).items()}
    origin = Origin(arch, checkpoint.sha256, settle.settled)
    return Source(capture(module, table, contract, origin), module, checkpoint.notes)
