"""From the user's module to a source: the same road for every kind of checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from snnconv import adapters, identify
from snnconv.adapters.one_step import one_step
from snnconv.capture import NO_NEURON, SELECTIONS, Selection, Several, capture, is_in_inference_form
from snnconv.errors import Refused
from snnconv.first_look.layouts import arrange
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import Origin, SpikingProgram, TimeContract
from snnconv.results import DEFAULT
from snnconv.sources.afresh import starting_afresh, without_memory
from snnconv.sources.calling import Forward, Found, SingleStep, WholeRun, find_forward
from snnconv.sources.fidelity import alike, faithful
from snnconv.sources.handed_places import a_neuron_for_each_place
from snnconv.sources.held_batch import follow_the_batch
from snnconv.sources.hidden_state import layers_with_state
from snnconv.sources.options import NETWORK
from snnconv.sources.own_resets import begin_by_resets, ensure_resets_change_nothing
from snnconv.sources.per_step_lists import per_step_lists
from snnconv.sources.source import Source
from snnconv.sources.time_mixing import ensure_steps_apart
from snnconv.user_code import running_user_code

_TAUGHT = "teach it in the file of the factory: from snnconv.adapters import adapter"
_A_LAYER_EACH = "make each neuron that is written out in its forward a layer of its own, which the forward calls"
_NEURONS = "use a neuron with a threshold, a leak and a reset, such as snnconv.nn.LIF"


class _NotCalled(Refused):
    """What stands against the ways in which a network may be called over time."""


class LoopRefused(Refused):
    """What stands against a network that keeps something in the loop that it makes over time."""


class UnknownLayers(Refused):
    """Layers that keep a state and have no adapter.

    Attributes:
        module: the network, from `origin`.
        known: the neurons of those layers that have an adapter, by path.
        unknown: the class of each layer that has none, by path.
    """

    def __init__(
        self,
        module: nn.Module,
        known: dict[str, Neuron],
        unknown: dict[str, str],
        origin: Origin,
        facts: Mapping[str, str],
        why: Refused,
    ) -> None:
        first, kind = next(iter(unknown.items()))
        fact = f": it {facts[first]}" if first in facts else ""
        others = f"; so do {len(unknown) - 1} more layers" if len(unknown) > 1 else ""
        because = "" if why.what == NO_NEURON[0] else f"; it cannot be taken as it is, because {why.what}"
        super().__init__(
            f"{first or 'the network'} ({kind}) keeps a state from step to step, and no adapter knows it{fact}{others}{because}",
            _TAUGHT if first else why.todo if known or because else _A_LAYER_EACH,
        )
        self.module, self.known, self.unknown, self.origin = module, known, unknown, origin


def capture_source(
    module: nn.Module,
    contract: TimeContract,
    origin: Origin,
    notes: tuple[str, ...] = (),
    output: str | None = None,
    forward: Forward | None = None,
) -> Source:
    """The source of a module whose spiking layers have adapters.

    Settings of the contract that are defaults by `origin.settings` follow from the network.

    Args:
        notes: in words, what was done to the module before.
        output: the name of the output, if there are several.
        forward: how the module is called over time, if that is known.

    Another layer that keeps a state is taken as it is, its tensors being memories of the program.

    Raises `UnknownLayers` if that cannot be done, `Refused` if one step cannot be captured or does not compute what the module
    computes, and `UserCodeError` if the module's own code fails.
    """
    module = _in_evaluation_mode(module, origin.arch)
    _neurons_of(module, origin.arch)
    _ensure_copyable(module, origin.arch)
    own_notes = (*notes, *begin_by_resets(module, contract), *follow_the_batch(module, contract))
    identified = _identified(module, contract)
    notes = (*own_notes, *identified.notes, *a_neuron_for_each_place(module, contract))
    neurons = _neurons_of(module, origin.arch)
    unknown = _unknown_layers(module, neurons, contract)
    try:
        source = _source(module, neurons, contract, origin, notes, output, forward)
    except Refused as refused:
        written_out = _written_out(module, contract, origin, notes, output, forward)
        if not isinstance(written_out, Source) and identified.neurons and not identified.places:
            # It may compute with the states that these return, which a neuron's are not.
            again = _written_out(_without(module, identified.neurons), contract, origin, own_notes, output, forward)
            written_out = again if isinstance(again, Source) else written_out
        if isinstance(written_out, Source):
            return written_out
        why = _refusal(module, neurons, unknown, identified, origin, refused, written_out)
        raise why from (refused.__cause__ if why is refused else refused)
    return replace(source, notes=(*source.notes, *_taken_as_they_are(unknown, source.program)))


def _without(module: nn.Module, identified: Collection[str]) -> nn.Module:
    """A copy of the module in which the layers that were identified are layers like others."""
    copied = copy.deepcopy(module)
    for path in identified:
        adapters.unteach(copied.get_submodule(path))
    return copied


def _refusal(
    module: nn.Module,
    neurons: Mapping[str, Neuron],
    unknown: dict[str, str],
    identified: identify.Found,
    origin: Origin,
    refused: Refused,
    written_out: Refused | None,
) -> Refused:
    """The most telling of what stands against a module: as it is, or with the neurons that are written out in its forward."""
    named = refused.what == NO_NEURON[0] and identified.facts
    if isinstance(written_out, LoopRefused) and not named:
        return written_out
    if unknown:
        known = {path: neuron for path, neuron in neurons.items() if not any(path.startswith(f"{p}.") for p in unknown if p)}
        why = refused if neurons or written_out is None else written_out
        return UnknownLayers(module, known, unknown, origin, identified.facts, why)
    if named:
        path, fact = next(iter(identified.facts.items()))
        kind = type(module.get_submodule(path)).__name__
        return Refused(f"{path} ({kind}) is no neuron that snnconv knows: it {fact}", _NEURONS)
    return written_out if written_out is not None and refused.what == NO_NEURON[0] else refused


def _written_out(
    module: nn.Module,
    contract: TimeContract,
    origin: Origin,
    notes: tuple[str, ...],
    output: str | None,
    forward: Forward | None,
) -> Source | Refused | None:
    """The source of a module whose neurons are written out in its forward, or what stands against it; None if it has none."""
    first: Refused | None = None
    for comparisons in identify.comparisons_of_steps(module, contract):
        split = copy.deepcopy(module)
        identify.split_off(split, comparisons)
        try:
            source = _source(split, _neurons_of(split, origin.arch), contract, origin, notes, output, forward)
        except _NotCalled:
            continue
        except Refused as refused:
            if first is None or (isinstance(refused, LoopRefused) and not isinstance(first, LoopRefused)):
                first = refused
            continue
        if not is_in_inference_form(source.program):
            return source  # folding says what stands against it
        if source.program.memories:
            places = "one place" if len(comparisons) == 1 else f"{len(comparisons)} places"
            kept = identify.listed(list(source.program.memories))
            note = (
                f"the network ({type(module).__name__}): taken as it is, firing at {places} of its forward where that compares, "
                f"what is kept from step to step being a state ({kept})"
            )
            return replace(source, notes=(*source.notes, note))
    return first


def _taken_as_they_are(unknown: Mapping[str, str], program: SpikingProgram) -> list[str]:
    """Notes on layers that are no canonical neurons, and whose memories are states of their own: one for each class.

    The memories of no such layer are those of loops over time.
    """
    kept = {path: [name for name in program.memories if name.rpartition(".")[0] == path or path == ""] for path in unknown}
    kinds: dict[str, list[str]] = {}
    for path, names in kept.items():
        if names:
            kinds.setdefault(unknown[path], []).append(path)
    notes = [
        f"{identify.listed([path or 'the network' for path in paths])} ({kind}): taken as "
        f"{'it is' if len(paths) == 1 else 'they are'}, "
        f"what is kept from step to step being a state ({identify.listed([name for path in paths for name in kept[path]])})"
        for kind, paths in kinds.items()
    ]
    told = {name for names in kept.values() for name in names}
    others = [name for name in program.memories if name not in told and name.rpartition(".")[0] not in program.neurons]
    return [*notes, *([f"what is kept in a loop over time is a state ({identify.listed(others)})"] if others else [])]


def _source(
    module: nn.Module,
    neurons: dict[str, Neuron],
    contract: TimeContract,
    origin: Origin,
    notes: tuple[str, ...],
    output: str | None,
    forward: Forward | None,
) -> Source:
    if forward is None:
        fixed = {name: text.rpartition(" (")[2].removesuffix(")") for name, text in origin.settings.items()}
        fixed = {name: where for name, where in fixed.items() if where != DEFAULT}
        found = _found(module, contract, fixed, output)
        forward, notes = found.forward, (*notes, *found.notes)
        contract, origin = _following(found, contract, origin)
        if found.whole is not None:
            return _going_one_way(module, neurons, contract, origin, notes, forward, found.whole)
    return _captured(module, neurons, contract, origin, notes, forward)


def _going_one_way(
    module: nn.Module,
    neurons: dict[str, Neuron],
    contract: TimeContract,
    origin: Origin,
    notes: tuple[str, ...],
    step: Forward,
    whole: Forward,
) -> Source:
    """The source of a module that takes one step a call and all steps as well, which must come to the same.

    Raises `Refused` if they do not, unless the module forgets its state in each call, which is a whole run then.
    """
    source = _captured(module, neurons, contract, origin, notes, step)
    if source.afresh:
        note = f"its forward makes its neurons forget, so it is given all steps in one call, {whole}"
        return _captured(module, neurons, contract, origin, (*notes, note), whole)
    return alike(source, whole)


def _found(module: nn.Module, contract: TimeContract, fixed: Mapping[str, str], output: str | None) -> Found:
    """How the module is called over time. Raises `Refused`, with the place if the module mixes time steps."""
    step = one_step(module, contract.timesteps)
    try:
        return find_forward(module, adapters.interfaces_of(module), contract, fixed, output)
    except Refused as refused:
        if adapters.takes_all_steps(module):
            ensure_steps_apart(module, step, WholeRun("time first"), contract, refused)
        raise _NotCalled(refused.what, refused.todo) from (refused.__cause__ or refused)


def _following(found: Found, contract: TimeContract, origin: Origin) -> tuple[TimeContract, Origin]:
    """The contract and the settings with what follows from the network itself."""
    settings = dict(origin.settings)
    if found.timesteps != contract.timesteps:
        settings["timesteps"] = f"{found.timesteps} ({NETWORK})"
    if found.output and "output" not in settings:
        settings["output"] = f"{found.output} ({DEFAULT})"
    return replace(contract, timesteps=found.timesteps), replace(origin, settings=settings)


def _captured(
    module: nn.Module,
    neurons: dict[str, Neuron],
    contract: TimeContract,
    origin: Origin,
    notes: tuple[str, ...],
    forward: Forward,
) -> Source:
    step = one_step(module, contract.timesteps, per_step_lists(module, forward, contract))

    def captured(afresh: frozenset[str], several: Several | None = None, selection: Selection = "all") -> Source:
        known = {path: without_memory(neuron) if path in afresh else neuron for path, neuron in neurons.items()}
        with adapters.others_left_alone():
            program = capture(step, known, contract, origin, forward.step, adapters.interfaces_of(module), several, selection)
        return Source(program, module, notes, forward, afresh=afresh)

    try:
        return _checked(captured(frozenset()))
    except Refused as refused:
        if isinstance(forward, WholeRun):
            looping = _looping(forward, partial(captured, frozenset()), refused)
            if looping is not None:
                return looping
            ensure_steps_apart(module, step, forward, contract, refused)
        elif isinstance(forward, SingleStep) and (afresh := starting_afresh(module, forward, contract, neurons)):
            note = f"{', '.join(sorted(afresh))}: each step starts afresh, as the network makes the state anew in each call"
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


def _in_evaluation_mode(module: nn.Module, arch: str) -> nn.Module:
    """The module in evaluation mode, without gradients."""
    with running_user_code(f"--arch {arch}", "bringing it into evaluation mode"):
        return _detached(module.eval().requires_grad_(False))


def _detached(module: nn.Module) -> nn.Module:
    """Detach the tensors that are no parameters, such as the weight of the old `weight_norm`: others cannot be copied."""
    for layer in module.modules():
        for name, value in [*vars(layer).items(), *layer._buffers.items()]:
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(layer, name, value.detach())
    return module


def _neurons_of(module: nn.Module, arch: str) -> dict[str, Neuron]:
    """The neurons of the layers with adapters, by path; the module has forgotten its state afterwards."""
    with running_user_code(f"--arch {arch}", "asking for the constants of its neurons"):
        neurons = adapters.neurons_of(module)
        adapters.reset(module)
    return neurons


def _identified(module: nn.Module, contract: TimeContract) -> identify.Found:
    """Teach `module` which of its layers are neurons, of those that nobody taught."""
    found = identify.find(module, contract)
    for path, known in found.neurons.items():
        layer = module.get_submodule(path)
        for place in identify.split(layer, found.places[path]) if path in found.places else [layer]:
            adapters.teach(place, known)
    for path, comparisons in found.comparisons.items():
        if comparisons and not any(f"{neuron}.".startswith(f"{path}.") for neuron in found.neurons):
            identify.split_off(module.get_submodule(path), comparisons)
    return found


def _ensure_copyable(module: nn.Module, arch: str) -> None:
    """Raise `UserCodeError` if the module cannot be copied; what follows works on copies."""
    with running_user_code(f"--arch {arch}", "copying it"):
        copy.deepcopy(module)


def _unknown_layers(module: nn.Module, neurons: dict[str, Neuron], contract: TimeContract) -> dict[str, str]:
    """The class of each layer that keeps a state and is neither a known neuron nor inside one, by its path."""
    kinds = layers_with_state(module, contract)
    return {path: kind for path, kind in kinds.items() if not any(f"{path}.".startswith(f"{name}.") for name in neurons)}
