"""From the user's module to a source: the same road for every kind of checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from torch import Tensor, nn

from snnconv import adapters, identify
from snnconv.errors import Refused
from snnconv.ir.program import Origin, SpikingProgram, TimeContract
from snnconv.sources.calling import Forward
from snnconv.sources.copying import ensure_copyable
from snnconv.sources.handed_places import a_neuron_for_each_place
from snnconv.sources.held_batch import follow_the_batch
from snnconv.sources.hidden_state import layers_with_state
from snnconv.sources.network import Network, neurons_of
from snnconv.sources.own_resets import begin_by_resets
from snnconv.sources.refusals import most_telling
from snnconv.sources.source import Source
from snnconv.sources.written_out import source_of_written_out
from snnconv.user_code import running_user_code


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
    neurons_of(module, origin.arch)
    ensure_copyable(module, origin.arch)
    own_notes = (*notes, *begin_by_resets(module, contract), *follow_the_batch(module, contract))
    identified = _identified(module, contract)
    notes = (*own_notes, *identified.notes, *a_neuron_for_each_place(module, contract))
    network = Network(module, neurons_of(module, origin.arch), contract, origin, notes, output)
    unknown = _unknown_layers(network)
    try:
        source = network.source(forward)
    except Refused as refused:
        written_out = source_of_written_out(network, forward)
        if not isinstance(written_out, Source) and identified.neurons and not identified.places:
            again = _without_identified(replace(network, notes=own_notes), identified, forward)
            written_out = again if again is not None else written_out
        if isinstance(written_out, Source):
            return written_out
        why = most_telling(network, unknown, identified, refused, written_out)
        raise why from (refused.__cause__ if why is refused else refused)
    return replace(source, notes=(*source.notes, *_taken_as_they_are(unknown, source.program)))


def _without_identified(network: Network, identified: identify.Found, forward: Forward | None) -> Source | None:
    """The source of a network in which the layers that were identified are layers like others; None if there is none.

    They may start from other potentials than 0, or the network may compute with the states that they return, which a neuron's
    are not.
    """
    plain, split = copy.deepcopy(network.module), copy.deepcopy(network.module)
    for path in identified.neurons:
        adapters.unteach(plain.get_submodule(path))
        adapters.unteach(split.get_submodule(path))
        identify.split_off(split.get_submodule(path), identified.comparisons[path])
    as_they_are = replace(network, module=split, neurons=neurons_of(split, network.origin.arch))
    with suppress(Refused):
        source = as_they_are.source(forward)
        return replace(source, notes=(*source.notes, *_taken_as_they_are(_unknown_layers(as_they_are), source.program)))
    written_out = source_of_written_out(replace(network, module=plain), forward)
    return written_out if isinstance(written_out, Source) else None


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


def _unknown_layers(network: Network) -> dict[str, str]:
    """The class of each layer that keeps a state and is neither a known neuron nor inside one, by its path."""
    kinds = layers_with_state(network.module, network.contract)
    return {path: kind for path, kind in kinds.items() if not any(f"{path}.".startswith(f"{name}.") for name in network.neurons)}
