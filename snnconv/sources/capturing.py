"""From the user's module to a source: the same road for every kind of checkpoint."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import capture, is_in_inference_form
from snnconv.errors import Refused
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import Origin, TimeContract
from snnconv.sources.fidelity import ensure_faithful
from snnconv.sources.forwards import Forward, MultiStep, forward_of
from snnconv.sources.hidden_state import layers_with_state
from snnconv.sources.per_step_lists import per_step_lists
from snnconv.sources.source import Source
from snnconv.sources.time_mixing import ensure_steps_apart
from snnconv.user_code import running_user_code


class UnknownLayers(Refused):
    """Layers that keep a state and have no adapter.

    Attributes:
        module: the network, from `origin`.
        known: the neurons of those layers that have an adapter, by path.
        unknown: the class of each layer that has none, by path.
    """

    def __init__(self, module: nn.Module, known: dict[str, Neuron], unknown: dict[str, str], origin: Origin) -> None:
        first, kind = next(iter(unknown.items()))
        others = f"; so do {len(unknown) - 1} more layers" if len(unknown) > 1 else ""
        super().__init__(
            f"{first or 'the network'} ({kind}) keeps a state from step to step, and no adapter knows it{others}",
            "teach it in the file of the factory: from snnconv.adapters import adapter",
        )
        self.module, self.known, self.unknown, self.origin = module, known, unknown, origin


def capture_source(module: nn.Module, contract: TimeContract, origin: Origin, notes: tuple[str, ...] = ()) -> Source:
    """The source of a module whose spiking layers have adapters.

    Raises `UnknownLayers` if another layer keeps a state, `Refused` if one step cannot be captured or does not compute what the
    module computes, and `UserCodeError` if the module's own code fails.
    """
    module = _in_evaluation_mode(module, origin.arch)
    neurons = _neurons_of(module, origin.arch)
    _ensure_copyable(module, origin.arch)
    forward = forward_of(module, contract)
    _ensure_known(module, neurons, contract, forward, origin)
    step = forward.one_step(module, contract, per_step_lists(module, forward, contract))
    if isinstance(forward, MultiStep):
        ensure_steps_apart(module, step, forward, contract)
    program = capture(step, neurons, contract, origin, forward.step, adapters.interfaces_of(module))
    source = Source(program, module, notes, forward)
    if is_in_inference_form(program):
        ensure_faithful(source)
    return source


def _in_evaluation_mode(module: nn.Module, arch: str) -> nn.Module:
    """The module in evaluation mode, without gradients."""
    with running_user_code(f"--arch {arch}", "bringing it into evaluation mode"):
        return _detached(module.eval().requires_grad_(False))


def _detached(module: nn.Module) -> nn.Module:
    """Detach the tensors that are no parameters, such as the weight of the old `weight_norm`: others cannot be copied."""
    for layer in module.modules():
        for name, value in list(vars(layer).items()):
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(layer, name, value.detach())
    return module


def _neurons_of(module: nn.Module, arch: str) -> dict[str, Neuron]:
    """The neurons of the layers with adapters, by path; the module has forgotten its state afterwards."""
    with running_user_code(f"--arch {arch}", "asking for the constants of its neurons"):
        neurons = adapters.neurons_of(module)
        adapters.reset(module)
    return neurons


def _ensure_copyable(module: nn.Module, arch: str) -> None:
    """Raise `UserCodeError` if the module cannot be copied; what follows works on copies."""
    with running_user_code(f"--arch {arch}", "copying it"):
        copy.deepcopy(module)


def _ensure_known(
    module: nn.Module, neurons: dict[str, Neuron], contract: TimeContract, forward: Forward, origin: Origin
) -> None:
    """Raise `UnknownLayers` if a layer keeps a state and is neither a known neuron nor inside one."""
    kinds = layers_with_state(module, forward, contract)
    unknown = {path: kind for path, kind in kinds.items() if not any(f"{path}.".startswith(f"{name}.") for name in neurons)}
    if unknown:
        raise UnknownLayers(module, neurons, unknown, origin)
