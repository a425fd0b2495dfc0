"""What every source gives: the model in its own framework's code, and its program."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.adapters.step_form import one_step
from snnconv.capture import capture, fitted
from snnconv.checkpoint import Checkpoint
from snnconv.errors import Refused
from snnconv.neuron import Neuron
from snnconv.program import Drive, Origin, SpikingProgram, TimeContract
from snnconv.sources.forwards import AllAtOnce, Forward, StepByStep, forward_of
from snnconv.sources.options import Resolver
from snnconv.sources.time_mixing import ensure_steps_apart


@dataclass(frozen=True)
class Source:
    """A loaded model.

    `module` computes by its framework's own code, called over time as `forward` says; it is None for a program read back from a
    `.pt2`.
    `program` is captured from it and not folded. `notes` tells what was changed when the file was read.
    """

    program: SpikingProgram
    module: nn.Module | None
    notes: tuple[str, ...] = ()
    forward: Forward = field(default_factory=StepByStep)

    @property
    def reference(self) -> str:
        """What an artifact is held against, in words: whose code it is, or the program captured from it."""
        origin = self.program.origin
        whose = origin.reference or origin.arch
        return whose if self.module is not None else f"the program captured from {whose}"

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
                hook = self.module.get_submodule(name).register_forward_hook(_driving(name, drive, self.program))
                hooks.callback(hook.remove)
            return self.forward.run(self.module, x, contract)

    def to(self, dtype: torch.dtype) -> Source:
        """The same source computing in `dtype`, with the constants of the module's neurons as they are in it."""
        program = self.program.to(dtype)
        if self.module is None:
            return replace(self, program=program)
        module = copy.deepcopy(self.module).to(dtype)
        told = adapters.known(module, dtype)
        neurons = {name: fitted(told[name], neuron.shape, name) for name, neuron in program.neurons.items()}
        return replace(self, program=replace(program, neurons=neurons), module=module)


class UnknownLayers(Refused):
    """Layers that keep a state and have no adapter: `unknown` names the class of each by its path.

    `known` are the neurons of `module` that have one.
    """

    def __init__(self, module: nn.Module, known: dict[str, Neuron], unknown: dict[str, str]) -> None:
        first, kind = next(iter(unknown.items()))
        others = f"; so do {len(unknown) - 1} more layers" if len(unknown) > 1 else ""
        super().__init__(
            f"{first or 'the network'} ({kind}) keeps a state from step to step, and no adapter knows it{others}",
            "teach it in the file of the factory: from snnconv.adapters import adapter",
        )
        self.module, self.known, self.unknown = module, known, unknown


def _driving(name: str, drive: Drive | None, program: SpikingProgram) -> Callable[[nn.Module, tuple[Tensor, ...], Any], Any]:
    dims = len(program.neurons[name].shape) + 1

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
        current, states = inputs[0], output[1:] if isinstance(output, tuple) else None
        spikes = output if states is None else output[0]
        if current.dim() > dims:
            seen = torch.stack([_driven(name, drive, c, s) for c, s in zip(current, spikes, strict=True)])
        else:
            seen = _driven(name, drive, current, spikes)
        return seen if states is None else (seen, *states)

    return hook


def _driven(name: str, drive: Drive | None, current: Tensor, spikes: Tensor) -> Tensor:
    driven = None if drive is None else drive(name, current, spikes)
    return (spikes if driven is None else driven).to(current.dtype)


def captured(
    module: nn.Module, arch: str, checkpoint: Checkpoint, contract: TimeContract, settle: Resolver, reference: str
) -> Source:
    """The source of a module whose spiking layers have adapters; `reference` says whose code the module is.

    Raises `Refused` if another layer keeps a state.
    """
    module = module.eval().requires_grad_(False)
    table = adapters.known(module)
    forward = forward_of(module, contract)
    _ensure_known(module, table, contract, forward)
    adapters.reset(module)
    step, framed = one_step(module, contract.timesteps)
    if isinstance(forward, AllAtOnce):
        forward.shorten(step, contract.timesteps)
        ensure_steps_apart(module, step, forward, contract)
    states = adapters.states_returned(module)
    origin = Origin(arch, checkpoint.sha256, settle.settled, reference)
    program = capture(step, table, contract, origin, call=forward.step, framed=framed, states=states)
    return Source(program, module, checkpoint.notes, forward)


def _ensure_known(module: nn.Module, table: dict[str, Neuron], contract: TimeContract, forward: Forward) -> None:
    """Run a copy twice and look who remembers something without being known for it."""
    probe = copy.deepcopy(module)
    x = torch.rand(contract.batch_shape(2), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            forward.run(probe, x, contract)
            before = _remembered(probe)
            forward.run(probe, x, contract)
        except Exception:
            return  # Capturing runs it as well, and says what is wrong.
    unknown = {}
    for path, held in _remembered(probe).items():
        told = any(path == name or path.startswith(f"{name}.") for name in table)
        if not told and [(id(t), n) for t, n in held.items()] != [(id(t), n) for t, n in before[path].items()]:
            unknown[path] = type(probe.get_submodule(path)).__name__
    if unknown:
        raise UnknownLayers(module, table, unknown)


def _remembered(module: nn.Module) -> dict[str, dict[Tensor, int]]:
    """Every tensor that a layer holds, with the number of its changes, by the path of the layer."""
    found = {}
    for path, layer in module.named_modules():
        values = [v for held in vars(layer).values() for v in (held.values() if isinstance(held, dict) else [held])]
        found[path] = {v: v._version for v in values if isinstance(v, Tensor)}
    return found
