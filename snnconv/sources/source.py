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
from snnconv.capture import Interface, capture, is_in_inference_form
from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron, fitted
from snnconv.ir.program import Drive, Origin, SpikingProgram, TimeContract
from snnconv.sources.checkpoint import Checkpoint
from snnconv.sources.fidelity import ensure_faithful
from snnconv.sources.forwards import Forward, MultiStep, SingleStep, forward_of
from snnconv.sources.kept import run_twice
from snnconv.sources.options import NAMES, Resolver, span
from snnconv.sources.time_mixing import ensure_steps_apart
from snnconv.sources.turns import taken_in_turn
from snnconv.user_code import running_user_code


@dataclass(frozen=True)
class Source:
    """A loaded model.

    `module` computes by its framework's own code, called over time as `forward` says; it is None for a program read back from a
    `.pt2`.
    `program` is captured from it and not folded. `notes` tells what was changed when the file was read. `archive_sha256` is that
    of the `.pt2` it was read from; any other source was read from the checkpoint that its origin names.
    """

    program: SpikingProgram
    module: nn.Module | None
    notes: tuple[str, ...] = ()
    forward: Forward = field(default_factory=SingleStep)
    archive_sha256: str = ""

    @property
    def sha256(self) -> str:
        """Of the file that was read."""
        return self.archive_sha256 or self.program.origin.sha256

    @property
    def reference(self) -> str:
        """What an artifact is held against, in words: whose code it is, or the program captured from it."""
        origin = self.program.origin
        whose = origin.reference or origin.arch
        return whose if self.module is not None else f"the program captured from {whose}"

    @property
    def settings(self) -> dict[str, str]:
        """Every setting with its own origin; constants of the neurons that no option sets come from the layers."""
        neurons = self.program.neurons.values()
        strict = " and ".join(sorted({str(neuron.strict) for neuron in neurons}))
        held = {name: span([getattr(neuron, name) for neuron in neurons]) for name in ("leak", "threshold")}
        layers = {name: f"{value} (layers)" for name, value in {**held, "strict": strict}.items()}
        known = {**layers, **self.program.origin.settings}
        return {name: known[name] for name in dict.fromkeys((*NAMES, *known)) if name in known}

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
                layer, driving = self.module.get_submodule(name), _driving(name, drive, self.program)
                # Before hooks of the user's own, which see what the neuron spikes or what takes its place.
                hooks.callback(layer.register_forward_hook(driving, prepend=True).remove)
            with running_user_code(f"--arch {self.program.origin.arch}", f"its forward on an input of shape {list(x.shape)}"):
                return self.forward.run(self.module, x, contract)

    def to(self, dtype: torch.dtype) -> Source:
        """The same source computing in `dtype`, with the constants of the module's neurons as they are in it."""
        program = self.program.to(dtype)
        if self.module is None:
            return replace(self, program=program)
        with running_user_code(f"--arch {self.program.origin.arch}", f"a copy of it in {str(dtype).removeprefix('torch.')}"):
            module = copy.deepcopy(self.module).to(dtype)
            told = adapters.known(module, dtype)
        neurons = {name: fitted(told[name], neuron.shape, name) for name, neuron in program.neurons.items()}
        return replace(self, program=replace(program, neurons=neurons), module=module)


class UnknownLayers(Refused):
    """Layers that keep a state and have no adapter: `unknown` names the class of each by its path.

    `known` are the neurons of `module` that have one; `origin` is where the module comes from.
    """

    def __init__(self, module: nn.Module, known: dict[str, Neuron], unknown: dict[str, str], origin: Origin) -> None:
        first, kind = next(iter(unknown.items()))
        others = f"; so do {len(unknown) - 1} more layers" if len(unknown) > 1 else ""
        super().__init__(
            f"{first or 'the network'} ({kind}) keeps a state from step to step, and no adapter knows it{others}",
            "teach it in the file of the factory: from snnconv.adapters import adapter",
        )
        self.module, self.known, self.unknown, self.origin = module, known, unknown, origin


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
    with running_user_code(f"--arch {arch}", "bringing it into evaluation mode"):
        module = _cut_loose(module.eval().requires_grad_(False))
    with running_user_code(f"--arch {arch}", "asking for the constants of its neurons"):
        table = adapters.known(module)
        adapters.reset(module)
    with running_user_code(f"--arch {arch}", "copying it"):
        copy.deepcopy(module)
    forward = forward_of(module, contract)
    origin = Origin(arch, checkpoint.sha256, settle.settled, reference)
    _ensure_known(module, table, contract, forward, origin)
    step, has_time_axis = one_step(module, contract.timesteps, taken_in_turn(module, forward, contract))
    if isinstance(forward, MultiStep):
        forward.shorten(step, contract.timesteps)
        ensure_steps_apart(module, step, forward, contract)
    states = adapters.states_returned(module)
    interfaces = {path: Interface(path in has_time_axis, states[path]) for path in table}
    program = capture(step, table, contract, origin, forward.step, interfaces)
    source = Source(program, module, checkpoint.notes, forward)
    if is_in_inference_form(program):
        ensure_faithful(source)
    return source


def _ensure_known(module: nn.Module, table: dict[str, Neuron], contract: TimeContract, forward: Forward, origin: Origin) -> None:
    """Raise `UnknownLayers` if a layer remembers something without being known for it."""
    found = run_twice(module, forward, contract)
    unknown = {path: kind for path, kind in found.items() if not any(f"{path}.".startswith(f"{name}.") for name in table)}
    if unknown:
        raise UnknownLayers(module, table, unknown, origin)


def _cut_loose(module: nn.Module) -> nn.Module:
    """Forget how tensors were computed that are no parameters, as old `weight_norm` keeps one: they cannot be copied else."""
    for layer in module.modules():
        for name, value in list(vars(layer).items()):
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(layer, name, value.detach())
    return module
