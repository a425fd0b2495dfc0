"""Checking that the captured program computes what the network's own code computes.

Every neuron is fed random currents around its threshold instead of its own, so that all of them fire and reset, whatever the
weights are. The network's own forward runs this way over all steps. Then each neuron of the program must spike as the network's
did, and the program, given the network's spikes, must feed every neuron the same current at every step and return the same
output. The first difference is named. So whatever one step leaves out (a count of the calls, another first potential, a method
of the user's own that an adapter does not know) is refused before anything is exported.

A network that is called once for all steps could mix them in ways that strong currents hide, such as an attention that saturates.
It runs on its own currents as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import ANY_BATCH, SAMPLES_APART, Filter, Interface, another_start
from snnconv.errors import Refused
from snnconv.identify.agreement import differences
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import Driven
from snnconv.ir.time import Outputs, read_out
from snnconv.results import DEFAULT
from snnconv.sources.arriving import Arriving, Filtering
from snnconv.sources.calling import ONE_WAY, Forward, SingleStep
from snnconv.sources.currents import typical_current
from snnconv.sources.hidden_state import changed_attribute
from snnconv.sources.options import NETWORK
from snnconv.sources.source import Source
from snnconv.user_code import UserCodeError
from snnconv.widest_dtype import in_widest_dtype
from snnconv.words import READOUTS

_TAUGHT = "leave the framework's own methods and first potential, or teach it: from snnconv.adapters import adapter"
_CALLED = "call the layer itself, not its forward, once at every step"
_WIDE = 300.0
"""The largest size of inputs that are not between 0 and 1."""
_STATELESS = "one step must follow from its own input and the neurons' states"


def faithful(source: Source) -> Source:
    """`source`, with the readout that its network has if nobody gave one. Raises `Refused` unless its program computes what its
    module does, and `UserCodeError` if the module does not run.
    """
    if source.module is None:
        return source
    fault, readouts = _first_fault(source, samples=2)
    if fault is None and _first_fault(source, samples=1)[0] is not None:
        raise Refused("the network computes otherwise on one sample than on several", ANY_BATCH)
    if fault is not None:
        what, todo = fault
        why = changed_attribute(source.module, source.forward, source.program.contract, source.program.neurons)
        raise Refused(f"{what}: {why}" if why else what, todo)
    return _reading_out(source, readouts)


def alike(source: Source, whole: Forward) -> Source:
    """`source`, whose module takes one step a call, with the readout that it has if it takes all steps in one, as it does too.

    Raises `Refused` if the two differ in more than a readout that the user gave.
    """
    fault, readouts = _first_fault(replace(source, forward=whole), samples=2)
    if fault is not None:
        raise Refused(
            f"the network takes one time step a call, and all steps in one call ({whole}), and the two differ: {fault[0]}",
            ONE_WAY,
        )
    return source if _is_given(source, "readout") else _reading_out(source, readouts)


def _is_given(source: Source, setting: str) -> bool:
    return not source.program.origin.settings.get(setting, DEFAULT).endswith(f"({DEFAULT})")


def _reading_out(source: Source, fitting: _Fitting) -> Source:
    """`source` with a readout that fits of every output. Raises `Refused` if the user gave one that fits none."""
    program, contract = source.program, source.program.contract
    chosen = {
        name: given if given in fits else fits[0] for (name, given), fits in zip(contract.readouts.items(), fitting, strict=True)
    }
    if chosen == contract.readouts:
        return source
    first, *others = dict.fromkeys(chosen.values())
    given = _is_given(source, "readout")
    if given and contract.readout not in chosen.values():
        raise Refused(f"the network reads out by itself, by {first}, not by {contract.readout}", f"give --readout {first}")
    said = ", ".join(f"{name} {readout}" for name, readout in chosen.items()) if others else first
    where = f"{program.origin.settings['readout'].rpartition(' (')[2].rstrip(')')} and {NETWORK}" if given else NETWORK
    origin = replace(program.origin, settings={**program.origin.settings, "readout": f"{said} ({where})"})
    contract = contract.reading_out(first) if not others else replace(contract, outputs=tuple(chosen.items()))
    return replace(source, program=replace(program, contract=contract, origin=origin))


_Fitting = tuple[tuple[str, ...], ...]
"""Of every output, the readouts that fit it."""
_Found = tuple[tuple[str, str] | None, _Fitting]
"""The first difference in words, and what to do about it, or None; then the readouts that fit the network's outputs."""


def _first_fault(source: Source, samples: int) -> _Found:
    """The same on so many samples of noise."""
    fault, readouts = _on_widest_inputs(source, samples, stirred=True)
    if fault is not None or isinstance(source.forward, SingleStep):
        return fault, readouts
    fault, own = _on_widest_inputs(source, samples, stirred=False)
    if fault is not None:
        return fault, ()
    both = tuple(tuple(readout for readout in some if readout in others) for some, others in zip(readouts, own, strict=True))
    unfit = [name for name, fitting in zip(source.program.contract.readouts, both, strict=True) if not fitting]
    return (_misfit(unfit[0], reads_out=True) if unfit else None), both


def _on_widest_inputs(source: Source, samples: int, stirred: bool) -> _Found:
    """The same on inputs of any size, or between 0 and 1 if the network fails on others, as one does that looks them up."""

    def found(wide: bool) -> _Found:
        return in_widest_dtype(lambda dtype, tolerance: _fault(source.to(dtype), dtype, tolerance, samples, stirred, wide))

    try:
        return found(wide=samples > 1)
    except UserCodeError:
        return found(wide=False)


def _inputs(source: Source, samples: int, noise: torch.Generator, wide: bool) -> Tensor:
    """Noise `[B, ...]` between 0 and 1; the samples behind the first, if `wide`, of both signs and of a size for each frame."""
    contract = source.program.contract
    x = torch.rand(contract.batch_shape(samples), generator=noise)
    if wide:
        sizes = _WIDE * torch.rand(*x.shape[: 1 + contract.event], *[1] * len(contract.input_shape), generator=noise)
        x[1:] = (sizes * torch.randn(x.shape, generator=noise))[1:]
    return x


def _fault(source: Source, dtype: torch.dtype, tolerance: float, samples: int, stirred: bool, wide: bool) -> _Found:
    """The same for a source that computes in `dtype`, `stirred` by random currents into its neurons or on its own."""
    layers = dict((source.module or nn.Module()).named_modules())
    noise = torch.Generator().manual_seed(0)
    x = _inputs(source, samples, noise, wide).to(dtype)
    interfaces = adapters.interfaces_of(source.module or nn.Module())
    seen: dict[str, _Seen] = {}
    with ExitStack() as hooks:
        for name, neuron in source.program.neurons.items():
            layer, interface = layers[name], interfaces[name]
            arriving = Arriving(layer, interface.dendrite, hooks)
            watched = seen[name] = _Seen(neuron, interface, arriving, noise if stirred else None)
            hooks.callback(layer.register_forward_pre_hook(watched.replace_current).remove)
            hooks.callback(layer.register_forward_hook(watched.note_spikes, prepend=True).remove)
        outputs = source.outputs(x)
    timesteps = source.program.contract.timesteps
    for name, watched in seen.items():
        if len(watched.spikes) != timesteps:
            return (f"neuron {name} is seen firing at {len(watched.spikes)} of {timesteps} steps", _CALLED), ()
        step = watched.first_different_spike(tolerance)
        if step is not None:
            layer_class = type(layers[name]).__name__
            return (
                f"neuron {name} ({layer_class}) spikes otherwise than its adapter says, first at step {step + 1}",
                _TAUGHT,
            ), ()
    return _fault_between(source, x, outputs, seen, tolerance)


def _fault_between(source: Source, x: Tensor, outputs: Outputs, seen: dict[str, _Seen], tolerance: float) -> _Found:
    """The same for what the network computes between its neurons."""
    contract = source.program.contract
    program = replace(source.program, contract=contract.reading_out("none"))
    together, alone = _Driving(seen, slice(None), tolerance), _Driving(seen, slice(-1, None), tolerance)
    every = program.outputs(x, drive=together)
    if together.first_other is not None:
        starts_elsewhere = together.first_other_at == 0 and program.memories
        return another_start(program.memories) if starts_elsewhere else (together.first_other, _STATELESS), ()
    last = program.outputs(x[-1:], drive=alone)
    if alone.first_other is not None or not all(_close(a, b[-1:], tolerance) for a, b in zip(last, every, strict=True)):
        return ("the output of a sample depends on the other samples of its batch", SAMPLES_APART), ()
    fitting = []
    each = zip(contract.readouts.items(), source.forward.reads_out, every, outputs, strict=True)
    for (name, given), reads_out, steps, y in each:
        readouts = (given, *READOUTS) if reads_out else (given,)
        fitting.append(tuple(r for r in readouts if _close(read_out(list(steps.unbind(1)), r), y, tolerance)))
        if not fitting[-1]:
            return _misfit(name, reads_out), ()
    return None, tuple(fitting)


def _misfit(output: str, reads_out: bool) -> tuple[str, str]:
    """What is said of an output that no readout of the program's steps gives, and what to do about it."""
    if reads_out:
        words = f"the network reads out {f'output {output} ' if output else ''}over time by itself, and neither by "
        todo = f"let it return every step; --readout takes {', '.join(READOUTS)}"
        return (
            f"{words}{', '.join(READOUTS[:-2])} nor by {READOUTS[-2]}",
            f"{todo}; or leave {output} out of --output" if output else todo,
        )
    which = f"output {output}" if output else "the output"
    return f"{which} of the network does not follow from its neurons' spikes at each step alone", _STATELESS


class _Driving:
    """Gives each neuron of a program what was seen of it in the network, for some `rows` of the batch; a `Drive`.

    Attributes:
        first_other: in words, the first neuron whose current is not the one that was seen.
        first_other_at: at which step, counted from 0.
    """

    def __init__(self, seen: Mapping[str, _Seen], rows: slice, tolerance: float) -> None:
        self._seen, self._rows, self._tolerance = seen, rows, tolerance
        self._steps = dict.fromkeys(seen, 0)
        self.first_other: str | None = None
        self.first_other_at = -1

    def __call__(self, name: str, current: Tensor, spikes: Tensor) -> Driven:
        """The spikes and the potential that were seen."""
        t, watched = self._steps[name], self._seen[name]
        self._steps[name] += 1
        if self.first_other is None and not _close(current, watched.currents[t][self._rows], self._tolerance):
            self.first_other_at = t
            self.first_other = f"what neuron {name} is given at step {t + 1} does not follow from that step alone"
        return Driven(watched.spikes[t][self._rows], watched.potentials[t][self._rows])


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether tensors `[B, ...]` are the same, within a share of the largest value of each sample."""
    if a.shape != b.shape or not b.numel():
        return a.shape == b.shape
    scales = b.abs().reshape(len(b), -1).amax(1).clamp(min=1.0).nan_to_num(1.0, 1.0)
    pairs = zip(a, b, scales.tolist(), strict=True)
    return all(torch.allclose(own, other, tolerance, tolerance * scale, equal_nan=True) for own, other, scale in pairs)


@dataclass
class _Seen:
    """What was seen of one neuron of the running network, a tensor `[B, ...]` per step.

    Attributes:
        neuron: the canonical neuron that the adapter says it is.
        interface: how the network calls it.
        arriving: what its layer makes of its current.
        noise: draws the currents that replace its own; None if it gets its own.
        currents: what the network computed for it.
        given: what it got instead.
        spikes: what it returned.
        potentials: those of the canonical neuron, which resets where the network's own did.
        filtering: the filter of its layer, on its own current and on the one that it was given; empty if the network runs it.
    """

    neuron: Neuron
    interface: Interface
    arriving: Arriving
    noise: torch.Generator | None
    currents: list[Tensor] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)
    potentials: list[Tensor] = field(default_factory=list)
    filtering: tuple[Filtering, ...] = ()

    def replace_current(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give the neuron other currents than its own; a forward pre-hook."""
        current, *rest = inputs
        steps = [step.clone() for step in self.interface.steps(current)]  # the network may still change it in place
        given = [self._around_threshold(step) for step in steps]
        self.currents += steps
        self.given += given
        return (self.interface.joined(given), *rest)

    def note_spikes(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Note the spikes that the neuron returned, and what arrived at it; a forward hook."""
        self.currents[-1], self.given[-1] = self._arrived(layer, self.currents[-1], self.given[-1])
        if self.neuron.silent:
            self.spikes += [torch.zeros_like(step) for step in self.given[len(self.spikes) :]]
            return
        steps = self.interface.steps(self.interface.spikes(output))
        self.spikes += [(step / self.interface.amplitude).to(self.neuron.threshold.dtype, copy=True) for step in steps]

    def _arrived(self, layer: nn.Module, current: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """What would have arrived at the neuron for its own current, and what arrived for the one that it was given."""
        if self.noise is None or not isinstance(self.interface.dendrite, Filter):
            return self.arriving.onto(current), self.arriving.onto(given)
        if not self.filtering:
            self.filtering = Filtering(self.interface.dendrite), Filtering(self.interface.dendrite)
        before = self.spikes[-1] if self.spikes else torch.zeros_like(current)
        own, other = self.filtering
        return own.step(layer, current, before), other.step(layer, given, before)

    def first_different_spike(self, tolerance: float) -> int | None:
        """The first step at which the neuron spikes differently from the canonical one; None if there is none.

        Where a potential is on the threshold, within `tolerance`, the two may differ: the canonical one goes on as the other.
        """
        for t, (u, other) in enumerate(differences(self.neuron, self.given, self.spikes, tolerance)):
            self.potentials.append(u)
            if bool(other.any()):
                return t
        return None

    def _around_threshold(self, like: Tensor) -> Tensor:
        if self.noise is None:
            return like
        noise = torch.randn(like.shape, generator=self.noise).to(like.dtype)
        return (1.5 * noise + 0.5) * typical_current(self.neuron).to(like.dtype)
