"""What every source gives: the model in its own framework's code, and its program."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import capture, fitted
from snnconv.checkpoint import Checkpoint
from snnconv.errors import Refused
from snnconv.neuron import Neuron
from snnconv.nn import PerStep, run
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
            # Some frameworks give float32 spikes whatever they compute in.
            watched = drive is not None or self.program.dtype is not torch.float32
            for name in self.program.neurons if watched else ():
                hook = self.module.get_submodule(name).register_forward_hook(_driving(name, drive))
                hooks.callback(hook.remove)
            adapters.reset(self.module)
            return run(self.module, x, contract.timesteps, contract.readout, contract.event)

    def to(self, dtype: torch.dtype) -> Source:
        """The same source computing in `dtype`, with the constants of the module's neurons as they are in it."""
        program = self.program.to(dtype)
        if self.module is None:
            return replace(self, program=program)
        module = copy.deepcopy(self.module).to(dtype)
        told = adapters.known(module, dtype)
        neurons = {name: fitted(told[name], neuron.shape, name) for name, neuron in program.neurons.items()}
        return replace(self, program=replace(program, neurons=neurons), module=module)


def _driving(name: str, drive: Drive | None) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> Tensor | None:
        driven = None if drive is None else drive(name, inputs[0], spikes)
        return (spikes if driven is None else driven).to(inputs[0].dtype)

    return hook


def captured(module: nn.Module, arch: str, checkpoint: Checkpoint, contract: TimeContract, settle: Resolver) -> Source:
    """The source of a module whose spiking layers have adapters. Raises `Refused` where another layer keeps a state."""
    module = module.eval().requires_grad_(False)
    table = adapters.known(module)
    adapters.reset(module)
    _ensure_known(module, table, contract)
    origin = Origin(arch, checkpoint.sha256, settle.settled)
    return Source(capture(module, table, contract, origin), module, checkpoint.notes)


def _ensure_known(module: nn.Module, table: dict[str, Neuron], contract: TimeContract) -> None:
    """Run two steps of a copy and look who remembers something without being known for it."""
    probe = copy.deepcopy(module)
    x = torch.rand(2, *contract.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            probe(x)
        except Exception:
            return  # Capturing runs it as well, and says what is wrong.
        before = _remembered(probe)
        for layer in probe.modules():
            if isinstance(layer, PerStep):
                layer.t = 0
        probe(x)
    for path, held in _remembered(probe).items():
        told = any(path == name or path.startswith(f"{name}.") for name in table)
        if not told and [(id(t), n) for t, n in held.items()] != [(id(t), n) for t, n in before[path].items()]:
            layer = probe.get_submodule(path)
            raise Refused(
                f"{path or 'the network'} ({type(layer).__name__}) keeps a state from step to step, and no adapter knows it",
                "teach it in the file of the factory: from snnconv.adapters import adapter",
            )


def _remembered(module: nn.Module) -> dict[str, dict[Tensor, int]]:
    """Every tensor that a layer holds, with the number of its changes, by the path of the layer."""
    found = {}
    for path, layer in module.named_modules():
        values = [v for held in vars(layer).values() for v in (held.values() if isinstance(held, dict) else [held])]
        found[path] = {v: v._version for v in values if isinstance(v, Tensor)}
    return found
