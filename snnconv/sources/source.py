"""A loaded model: the user's own code, and the program captured from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import Interface
from snnconv.ir.neuron import Neuron, fitted
from snnconv.ir.program import Drive, SpikingProgram
from snnconv.ir.time import Outputs
from snnconv.sources.afresh import without_memory
from snnconv.sources.arriving import Arriving
from snnconv.sources.calling import Forward, SingleStep
from snnconv.sources.options import NAMES, span
from snnconv.user_code import running_user_code
from snnconv.widest_dtype import computing_in


@dataclass(frozen=True)
class Source:
    """A loaded model.

    Attributes:
        program: captured from `module`, and not folded.
        module: the network in the user's own code; None for a program that was read from a `.pt2`.
        notes: in words, what was changed when the file was read.
        forward: how `module` is called over time.
        afresh: the neurons that carry nothing from step to step, whatever their layers do.
        archive_sha256: that of the `.pt2` it was read from; empty if it was read from the checkpoint that its origin names.
    """

    program: SpikingProgram
    module: nn.Module | None
    notes: tuple[str, ...] = ()
    forward: Forward = field(default_factory=SingleStep)
    archive_sha256: str = ""
    afresh: frozenset[str] = frozenset()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file that was read, in hex."""
        return self.archive_sha256 or self.program.origin.sha256

    @property
    def reference(self) -> str:
        """In words, what an artifact is compared with: whose code it is, or the program captured from that code."""
        origin = self.program.origin
        whose = origin.reference or origin.arch
        return whose if self.module is not None else f"the program captured from {whose}"

    @property
    def settings(self) -> dict[str, str]:
        """Every setting with where it comes from; constants of the neurons that no option sets come from the layers."""
        neurons = self.program.neurons.values()
        strict = " and ".join(sorted({str(neuron.strict) for neuron in neurons}))
        spans = {name: span([getattr(neuron, name) for neuron in neurons]) for name in ("leak", "threshold")}
        layers = {name: f"{value} (layers)" for name, value in {**spans, "strict": strict}.items()}
        known = {**layers, **self.program.origin.settings}
        return {name: known[name] for name in dict.fromkeys((*NAMES, *known)) if name in known}

    def run(self, x: Tensor, drive: Drive | None = None) -> Tensor:
        """The first of the `outputs` on `x`, which is the only one of most models."""
        return self.outputs(x, drive)[0]

    def outputs(self, x: Tensor, drive: Drive | None = None) -> Outputs:
        """The model's outputs on `x` `[B, C, H, W]`, or `[B, T, C, H, W]` for frames, from a fresh state.

        They are computed by the user's own code, or by the program if there is none. `drive(neuron, current, spikes)` sees every
        neuron at every step; what it returns replaces the neuron's own for the layers that follow: in the user's own code the
        spikes alone. Of a neuron that never fires it sees no spikes. Raises `UserCodeError` if the user's code fails.
        """
        contract = self.program.contract
        if self.module is None:
            return self.program.outputs(x, drive=drive)
        with torch.no_grad(), ExitStack() as hooks:
            # Some frameworks give float32 spikes whatever they compute in.
            watched = drive is not None or self.program.dtype is not torch.float32
            interfaces = adapters.interfaces_of(self.module) if watched else {}
            for name in self.program.neurons if watched else ():
                layer, interface = self.module.get_submodule(name), interfaces[name]
                arriving = Arriving(layer, interface.dendrite, hooks)
                driving = _driving(name, drive, interface, self.program.neurons[name], arriving)
                # Before hooks of the user's own: they see the spikes of the neuron, or those that replace them.
                hooks.callback(layer.register_forward_hook(driving, prepend=True).remove)
            hooks.enter_context(computing_in(self.program.dtype))
            with running_user_code(f"--arch {self.program.origin.arch}", f"its forward on an input of shape {list(x.shape)}"):
                return self.forward.run(self.module, x, contract)

    def to(self, dtype: torch.dtype) -> Source:
        """The same source computing in `dtype`, with the neurons' constants as the module gives them in that type.

        Raises `UserCodeError` if the module cannot be copied or converted.
        """
        program = self.program.to(dtype)
        if self.module is None:
            return replace(self, program=program)
        with running_user_code(f"--arch {self.program.origin.arch}", f"a copy of it in {str(dtype).removeprefix('torch.')}"):
            module = copy.deepcopy(self.module).to(dtype)
            own = adapters.neurons_of(module, dtype)
        own = {name: without_memory(neuron) if name in self.afresh else neuron for name, neuron in own.items()}
        fitting = {name: fitted(own[name], neuron.shape, name) for name, neuron in program.neurons.items()}
        neurons = {name: neuron.silenced() if program.neurons[name].silent else neuron for name, neuron in fitting.items()}
        return replace(self, program=replace(program, neurons=neurons), module=module)


def _driving(
    name: str, drive: Drive | None, interface: Interface, neuron: Neuron, arriving: Arriving
) -> Callable[[nn.Module, tuple[Tensor, ...], Any], Any]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
        currents = [arriving.onto(current) for current in interface.steps(inputs[0])]
        if neuron.silent:  # whatever it gives, nothing reads its spikes
            for current in currents:
                _driven(name, drive, current, torch.zeros_like(current))
            return None
        own = interface.steps(interface.spikes(output))
        steps = zip(currents, own, strict=True)
        seen = [_driven(name, drive, c, s / interface.amplitude) * interface.amplitude for c, s in steps]
        arriving.keep(seen[-1], own[-1], neuron.threshold)
        return interface.with_spikes(output, interface.joined(seen))

    return hook


def _driven(name: str, drive: Drive | None, current: Tensor, spikes: Tensor) -> Tensor:
    driven = None if drive is None else drive(name, current, spikes)
    return (spikes if driven is None else driven.spikes).to(current.dtype)
