"""Checking that a network that takes all time steps in one call computes each step from that step and the neurons' states alone.

If it does, running it step by step gives the same. If not (attention over time, a convolution over time, a neuron without a
step), the first place that differs is named: a layer by its path, or a line of the network's own code.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from snnconv import adapters
from snnconv.errors import Refused
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.ir.time import frames, read_out
from snnconv.sources.forwards import MultiStep
from snnconv.sources.widest_dtype import in_widest_dtype
from snnconv.user_code import described, is_library, place_of, running_user_code
from snnconv.words import READOUTS

_TODO = "one step must follow from its own input and the neurons' states"
_Seen = list[tuple[str, Tensor]]
"""What was computed, in order: where, and the value."""


def ensure_steps_apart(module: nn.Module, step: nn.Module, forward: MultiStep, contract: TimeContract) -> None:
    """Raise `Refused` unless `step`, which is `module` in the form of one step, gives the same when run step by step on noise.

    Raises `UserCodeError` if `module` does not run at all.
    """
    in_widest_dtype(lambda dtype, tolerance: _ensure_apart(module, step, forward, contract, dtype, tolerance))


def _ensure_apart(
    module: nn.Module, step: nn.Module, forward: MultiStep, contract: TimeContract, dtype: torch.dtype, tolerance: float
) -> None:
    whole_net, step = copy.deepcopy(module).to(dtype), copy.deepcopy(step).to(dtype)
    x = torch.rand(contract.batch_shape(2), generator=torch.Generator().manual_seed(0)).to(dtype)
    whole, steps = _Seen(), [_Seen() for _ in range(contract.timesteps)]
    with torch.no_grad(), _recorded(whole_net, whole), running_user_code("the network", f"its forward on {list(x.shape)}"):
        y = forward.run(whole_net, x, contract)
    try:
        adapters.reset(step)
        outputs = []
        for t, frame in enumerate(frames(x, contract.timesteps, contract.event)):
            with torch.no_grad(), _recorded(step, steps[t]), EntryAt(t):
                outputs.append(forward.step(step, frame))
    except Exception as error:
        where = _last(steps) or "its forward"
        raise Refused(
            f"the network mixes time steps, in {where}: one step alone does not run ({described(error)})", _TODO
        ) from error
    if _close(y, read_out(outputs, contract.readout), tolerance):
        return
    other = next((r for r in READOUTS if r != "none" and _close(y, read_out(outputs, r), tolerance)), None)
    if other is not None:
        raise Refused(f"the network reads out by itself, by {other}, not by {contract.readout}", f"give --readout {other}")
    where = _first_difference(whole, steps, tolerance)
    raise Refused(f"the network mixes time steps, first in {where}: run step by step it computes something else", _TODO)


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, tolerance, tolerance)


def _first_difference(whole: _Seen, steps: list[_Seen], tolerance: float) -> str:
    """The first place at which the steps, put together, are not what the whole run computed."""
    for (where, value), *parts in zip(whole, *steps, strict=False):
        if any(place != where for place, _ in parts) or not _is_whole(value, [part for _, part in parts], tolerance):
            return where
    return "its read-out"


def _is_whole(value: Tensor, parts: list[Tensor], tolerance: float) -> bool:
    """Whether `value` is the parts of all steps along some dimension, or is the same at every step."""
    if all(_close(value, part, tolerance) for part in parts):
        return True
    return any(_close(value, torch.cat(parts, dim), tolerance) for dim in range(value.dim()) if _fit(parts, dim))


def _fit(parts: list[Tensor], dim: int) -> bool:
    return all(part.dim() == parts[0].dim() > dim and part.shape == parts[0].shape for part in parts)


def _last(steps: list[_Seen]) -> str:
    """In words, where a step failed: after the last place that was recorded. Empty if none was."""
    last = next((seen for seen in reversed(steps) if seen), None)
    return f"what comes after {last[-1][0]}" if last else ""


class _Lines(TorchFunctionMode):
    """Records every float tensor that a line of the network's own code computes."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            frame = sys._getframe(1)
            if not is_library(frame.f_code.co_filename):
                self.seen.append((place_of(frame.f_code.co_filename, frame.f_lineno), result))
        return result


@contextmanager
def _recorded(net: nn.Module, seen: _Seen) -> Iterator[None]:
    """Record in `seen` what the layers and the lines of `net` compute while the block runs."""

    def hooked(path: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen.append((f"{path} ({type(layer).__name__})", output))

        return hook

    hooks = [layer.register_forward_hook(hooked(path)) for path, layer in _layers(net, "")]
    try:
        with _Lines(seen):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _layers(net: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a network with their paths, down to those without layers of their own and those of a framework."""
    for name, layer in net.named_children():
        inner = f"{path}.{name}" if path else name
        if not any(True for _ in layer.children()) or type(layer).__module__.split(".")[0] in adapters.FRAMEWORKS:
            yield inner, layer
        else:
            yield from _layers(layer, inner)
