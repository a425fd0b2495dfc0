"""A network whose neurons are known, and its source: called over time, captured, and held against its own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from snnconv import adapters
from snnconv.adapters.one_step import one_step
from snnconv.capture import SELECTIONS, Selection, Several, capture, is_in_inference_form
from snnconv.errors import Refused
from snnconv.first_look.layouts import arrange
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import Origin, TimeContract
from snnconv.results import DEFAULT
from snnconv.sources.afresh import starting_afresh, without_memory
from snnconv.sources.calling import Forward, Found, OtherSteps, SingleStep, WholeRun, find_forward
from snnconv.sources.calling.returned import EVERY
from snnconv.sources.fidelity import alike, faithful
from snnconv.sources.options import NETWORK
from snnconv.sources.own_resets import ensure_resets_change_nothing
from snnconv.sources.per_step_lists import per_step_lists
from snnconv.sources.source import Source
from snnconv.sources.time_mixing import ensure_steps_apart
from snnconv.user_code import running_user_code


class NotCalled(Refused):
    """What stands against the ways in which a network may be called over time."""


class Astray(NotCalled):
    """It calls its neurons for another number of steps than it is given frames."""


class LoopRefused(Refused):
    """What stands against a network that keeps something in the loop that it makes over time."""


def neurons_of(module: nn.Module, arch: str) -> dict[str, Neuron]:
    """The neurons of the layers with adapters, by path; the module has forgotten its state afterwards."""
    with running_user_code(f"--arch {arch}", "asking for the constants of its neurons"):
        neurons = adapters.neurons_of(module)
        adapters.reset(module)
    return neurons


@dataclass(frozen=True)
class Network:
    """A network whose neurons are known.

    Attributes:
        module: the network.
        neurons: the neurons of its layers with adapters, by path.
        contract: what settings say of time; what is a default there by `origin.settings` follows from the network.
        origin: where it comes from.
        notes: in words, what was done to the module before.
        output: the name of the output, if there are several.
    """

    module: nn.Module
    neurons: Mapping[str, Neuron]
    contract: TimeContract
    origin: Origin
    notes: tuple[str, ...] = ()
    output: str | None = None

    def source(self, forward: Forward | None = None) -> Source:
        """Its source; how it is called over time is found out, unless it is known.

        Raises `NotCalled` if it is called in no way over time, `LoopRefused` if it keeps something in the loop that it makes over
        time and that cannot be captured, and `Refused` if one step cannot be captured or does not compute what the network does.
        """
        if forward is not None:
            return self._captured(forward)
        fixed = {name: text.rpartition(" (")[2].removesuffix(")") for name, text in self.origin.settings.items()}
        found = self._found({name: where for name, where in fixed.items() if where != DEFAULT})
        following = self._following(found)
        return following._captured(found.forward) if found.whole is None else following._going_one_way(found.forward, found.whole)

    def _found(self, fixed: Mapping[str, str]) -> Found:
        """How it is called over time. Raises `NotCalled`, or `Refused` with the place if it mixes time steps."""
        try:
            return find_forward(self.module, adapters.interfaces_of(self.module), self.contract, fixed, self.output)
        except Refused as refused:
            if adapters.takes_all_steps(self.module):
                step = one_step(self.module, self.contract.timesteps)
                ensure_steps_apart(self.module, step, WholeRun("time first"), self.contract, refused)
            kind = Astray if isinstance(refused, OtherSteps) else NotCalled
            raise kind(refused.what, refused.todo) from (refused.__cause__ or refused)

    def _following(self, found: Found) -> Network:
        """The same with the contract, settings and notes that follow from the network itself."""
        settings = dict(self.origin.settings)
        if found.timesteps != self.contract.timesteps:
            settings["timesteps"] = f"{found.timesteps} ({NETWORK})"
        given = settings.get("output", "")
        if found.outputs:
            settings["output"] = f"{found.output} ({given.rpartition(' (')[2] or f'{DEFAULT})'}"
        elif given.startswith(f"{EVERY} ("):
            del settings["output"]  # there is but one
        if found.output and "output" not in settings:
            settings["output"] = f"{found.output} ({DEFAULT})"
        outputs = tuple((name, self.contract.readout) for name in found.outputs)
        return replace(
            self,
            contract=replace(self.contract, timesteps=found.timesteps, outputs=outputs),
            origin=replace(self.origin, settings=settings),
            notes=(*self.notes, *found.notes),
        )

    def _going_one_way(self, step: Forward, whole: Forward) -> Source:
        """The source of a network that takes one step a call and all steps as well, which must come to the same.

        Raises `Refused` if they do not, unless the network forgets its state in each call, which is a whole run then.
        """
        source = self._captured(step)
        if not source.afresh:
            return alike(source, whole)
        note = f"its forward makes its neurons forget, so it is given all steps in one call, {whole}"
        return replace(self, notes=(*self.notes, note))._captured(whole)

    def _captured(self, forward: Forward) -> Source:
        step = one_step(self.module, self.contract.timesteps, per_step_lists(self.module, forward, self.contract))

        def captured(afresh: frozenset[str], several: Several | None = None, selection: Selection = "all") -> Source:
            known = {path: without_memory(neuron) if path in afresh else neuron for path, neuron in self.neurons.items()}
            interfaces = adapters.interfaces_of(self.module)
            with adapters.others_left_alone():
                program = capture(step, known, self.contract, self.origin, forward.step, interfaces, several, selection)
            return Source(program, self.module, self.notes, forward, afresh=afresh)

        try:
            return _checked(captured(frozenset()))
        except Refused as refused:
            if isinstance(forward, WholeRun):
                looping = _looping(forward, partial(captured, frozenset()), refused)
                if looping is not None:
                    return looping
                ensure_steps_apart(self.module, step, forward, self.contract, refused)
            elif isinstance(forward, SingleStep):
                afresh = starting_afresh(self.module, forward, self.contract, self.neurons)
                if afresh:
                    names = ", ".join(sorted(afresh))
                    note = f"{names}: each step starts afresh, as the network makes the state anew in each call"
                    source = _checked(captured(afresh))
                    return replace(source, notes=(*source.notes, note))
            raise


def _checked(source: Source) -> Source:
    """A source that was captured, with what follows from its network. Raises `Refused` unless it is faithful to that."""
    if not is_in_inference_form(source.program):
        return source
    source = faithful(source)
    ensure_resets_change_nothing(source)
    return source


def _looping(forward: WholeRun, captured: Callable[[Several, Selection], Source], before: Refused) -> Source | None:
    """The source of a network that keeps something in the loop that it makes over time; None if it keeps nothing there.

    Raises `LoopRefused` if it does and is not captured all the same, for another reason than the one `before`.
    """

    def several(net: nn.Module, frames: list[Tensor]) -> Any:
        return forward.call(net, arrange(forward.layout, frames), len(frames))

    first: Refused | None = None
    for selection in SELECTIONS:
        try:
            source = captured(several, selection)
            if source.program.memories:
                return _checked(source)
        except Refused as refused:
            first = first or (None if refused.what == before.what else refused)
    if first is not None:
        raise LoopRefused(first.what, first.todo) from first
    return None
