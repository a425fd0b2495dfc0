"""The adapter of a layer that was identified, as text to paste into the file of the factory."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.adapters.recognition import adapter_of
from snnconv.identify.adapter import Identified
from snnconv.ir.neuron import Neuron

_CLOSE = 1e-6
"""By what share a constant may differ from an attribute in float32 and still be it."""


def adapters_to_paste(module: nn.Module) -> dict[str, str]:
    """An adapter for each class of `module` whose layers were identified, by its name.

    A class is left out if its layers differ in more than their attributes, or if `snnconv.adapters.lif` cannot say what they are.
    """
    texts: dict[str, set[str | None]] = {}
    for layer in module.modules():
        known = adapter_of(layer)
        if isinstance(known, Identified):
            texts.setdefault(type(layer).__name__, set()).add(_text(layer, known))
    return {name: text for name, (text, *others) in texts.items() if text is not None and not others}


def _text(layer: nn.Module, known: Identified) -> str | None:
    neuron, called = known.in_dtype(layer, torch.float32), known.called
    plain = neuron.shift is None and neuron.synaptic_decay is None and neuron.inverted is None
    if not plain or called.merged or called.spikes_at or called.amplitude != 1:
        return None
    constants = [_named(layer, value) for value in (neuron.leak, neuron.threshold)]
    after = "None" if neuron.soft else _named(layer, _reset_to(neuron))
    if None in (*constants, after) or (neuron.soft and not torch.allclose(neuron.reset, neuron.leak * neuron.threshold)):
        return None
    name = type(layer).__name__
    arguments = [f"{name}, time_axis={called.time_axis}" if called.time_axis is not None else name]
    if not callable(getattr(layer, "reset", None)):
        arguments.append("reset=reset_with_network")
    if called.states_returned:
        arguments.append(f"states=lambda layer: {called.states_returned}")
    imported = ["adapter", "lif", *(["reset_with_network"] if len(arguments) > 1 and "reset" in arguments[1] else [])]
    return "\n".join(
        [
            f"from snnconv.adapters import {', '.join(imported)}",
            "",
            f"@adapter({', '.join(arguments)})",
            f"def {_snake(name)}_neuron(layer):",
            f"    return lif({constants[0]}, {constants[1]}, v_reset={after}, strict={neuron.strict})",
        ]
    )


def _reset_to(neuron: Neuron) -> Tensor:
    return torch.where(neuron.leak != 0, neuron.reset / neuron.leak, neuron.reset)


def _named(layer: nn.Module, constant: Tensor) -> str | None:
    """The attribute of the layer that holds a constant, or the constant as a number; None if it is several numbers."""
    for name, value in {**vars(layer), **layer._parameters, **layer._buffers}.items():
        if not name.startswith("_") and _is_equal(value, constant):
            return f"layer.{name}"
    return f"{constant.item():.6g}" if constant.numel() == 1 else None


def _is_equal(value: Any, constant: Tensor) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        return False
    held = torch.as_tensor(value).detach()
    fits = held.numel() == constant.numel() and held.is_floating_point() and bool(constant.any())
    return fits and torch.allclose(held.flatten().float(), constant.flatten(), _CLOSE, 0)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
