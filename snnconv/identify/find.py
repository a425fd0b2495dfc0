"""Which layers of a network are canonical neurons that nobody taught, found by running the network and then each layer alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from torch import nn

from snnconv.adapters.recognition import adapter_of
from snnconv.first_look.calls import calls
from snnconv.identify.adapter import Identified, notes
from snnconv.identify.apart import Apart
from snnconv.identify.facts import DEPENDENT, NotCalledSo, NotCanonical
from snnconv.identify.firing import Comparison
from snnconv.identify.recording import Recorded, recorded
from snnconv.ir.program import TimeContract
from snnconv.user_code import UserCodeError
from snnconv.user_code import described as in_words

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
"""A layer that holds one of these is no neuron but a part of a network."""
_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class Found:
    """What was found in a network.

    Attributes:
        neurons: the layers that are canonical neurons, by path.
        places: at how many places the network calls a neuron that each time runs through all steps from a fresh state, by path;
            those that are called at one are left out.
        facts: of the other layers with memory that return spikes: what stands against it, to follow the layer's name; by path.
        notes: in words, what the neurons are, a note for each kind.
        comparisons: of the layers with a fact, what one step of them compares; by path.
    """

    neurons: dict[str, Identified] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    comparisons: dict[str, tuple[Comparison, ...]] = field(default_factory=dict)

    @property
    def tells(self) -> tuple[int, int, int, int]:
        """How much was found: neurons, layers of which it is known when they fire, facts about others, and facts at all."""
        split = [found for found in self.comparisons.values() if found]
        return len(self.neurons), len(split), len([fact for fact in self.facts.values() if fact != DEPENDENT]), len(self.facts)


def find(module: nn.Module, contract: TimeContract) -> Found:
    """The layers of `module` that are canonical neurons, those left out that have an adapter or are inside one that has.

    It need not be known how the network goes over time: it is called in several ways, until all its layers with memory are
    known. The module itself is left as it was. A network that does not run has none: whoever runs it next says what is wrong.
    """
    best = Found()
    for call in calls(module, contract):
        found = Found()
        _search(module, "", recorded(copy.deepcopy(module), call), call.steps, found)
        if found.tells > best.tells:
            best = found
        if best.neurons and not best.facts:
            break
    kinds = {path: type(module.get_submodule(path)).__name__ for path in best.neurons}
    return replace(best, notes=notes({path: (kinds[path], known) for path, known in best.neurons.items()}))


def _search(layer: nn.Module, path: str, seen: dict[str, Recorded], steps: int, found: Found) -> bool:
    """Add what is found in a layer and the layers inside it to `found`; whether anything was."""
    if path and adapter_of(layer) is not None:
        return True

    def inside() -> bool:
        known = False
        for name, child in layer.named_children():
            known |= _search(child, f"{path}.{name}" if path else name, seen, steps, found)
        return known

    def itself() -> bool:
        return path in seen and _try(layer, path, seen[path], steps, found)

    if any(isinstance(inner, _WEIGHTED) for inner in layer.modules()):
        return inside()
    # A norm beside a neuron is a layer of its own, and folds as one.
    first, then = (inside, itself) if any(isinstance(inner, _NORMS) for inner in layer.modules()) else (itself, inside)
    return first() or then()


def _try(layer: nn.Module, path: str, seen: Recorded, steps: int, found: Found) -> bool:
    """Add a layer to the neurons, or to the facts if it keeps something and is none; whether it was added to the neurons."""
    facts: list[str] = []
    guesses: list[str] = []
    for calling in seen.callings(steps):
        alone = Apart(layer, f"{path} ({type(layer).__name__})", calling)
        shape = tuple(calling.interface.steps(seen.current)[0].shape[1:])
        try:
            known = alone.identified(shape)
        except NotCalledSo as error:
            guesses.append(str(error))
        except NotCanonical as error:
            facts.append(str(error))
            if not found.comparisons.get(path):
                found.comparisons[path] = alone.comparisons(shape)
        except UserCodeError as error:
            guesses.append(f"does not run apart from its network: {in_words(error.__cause__ or error)}")
        else:
            if known is not None:
                found.neurons[path] = known
                found.comparisons[path] = alone.comparisons(shape)
                if seen.count > 1 and not calling.per_step and alone.starts_afresh(shape):
                    found.places[path] = seen.count
                return True
    if facts or guesses:
        telling = [fact for fact in facts if fact != DEPENDENT]  # that is what it seems if steps are taken for samples
        found.facts[path] = [*telling, *facts, *guesses][0]
    return False
