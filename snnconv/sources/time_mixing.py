"""Naming the place at which a network mixes time steps, once it was refused.

A network that computes each step from that step and the neurons' states alone gives the same if it is run step by step. If not
(attention over time, a convolution over time, a neuron without a step), the first place that differs is named: a layer by its
path, or a line of the network's own code.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from snnconv import adapters
from snnconv.errors import Refused
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.ir.time import frames, read_out
from snnconv.sources.calling import WholeRun
from snnconv.user_code import UserCodeError, described, is_library, place_of, running_user_code
from snnconv.widest_dtype import computing_in, in_widest_dtype
from snnconv.words import READOUTS

_TODO = "one step must follow from its own input and the neurons' states"
_Seen = list[tuple[str, Tensor]]
"""What was computed, in order: where, and the value."""


def ensure_steps_apart(module: nn.Module, step: nn.Module, forward: WholeRun, contract: TimeContract, refused: Refused) -> None:
    """Name the place at which a network mixes time steps, if it does and its layers keep their state: raise `Refused` with it.

    `step` is the network in the form of one step; it is run step by step on noise. `refused` says why it was refused. Nothing is
    raised if that run gives the same, or if it shows nothing because the network itself hands its neurons their states.
    """
    if any(interface.states_returned for interface in adapters.interfaces_of(module).values()):
        return
    with suppress(UserCodeError):
        in_widest_dtype(lambda dtype, tolerance: _ensure_apart(module, step, forward, contract, dtype, tolerance, refused))


def _ensure_apart(
    module: nn.Module,
    step: nn.Module,
    forward: WholeRun,
    contract: TimeContract,
    dtype: torch.dtype,
    tolerance: float,
    refused: Refused,
) -> None:
    whole_net, step = copy.deepcopy(module).to(dtype), copy.deepcopy(step).to(dtype)
    x = torch.rand(contract.batch_shape(2), generator=torch.Generator().manual_seed(0)).to(dtype)
    whole, steps = _Seen(), [_Seen() for _ in range(contract.timesteps)]
    with (
        torch.no_grad(),
        computing_in(dtype),
        _recorded(whole_net, whole),
        running_user_code("the network", f"its forward on {list(x.shape)}"),
    ):
        expected = forward.run(whole_net, x, contract)
    try:
        adapters.reset(step)
        steps_of_outputs = []
        for t, frame in enumerate(frames(x, contract.timesteps, contract.event)):
            with torch.no_grad(), computing_in(dtype), _recorded(step, steps[t]), EntryAt(t):
                steps_of_outputs.append(forward.step(step, frame))
    except Exception as error:
        last = _last(steps) or "its forward"
        raise Refused(
            f"the network mixes time steps, in {last}: one step alone does not run ({described(error)})", _TODO
        ) from error
    over_time = zip(expected, zip(*steps_of_outputs, strict=True), strict=True)
    if all(any(_close(y, read_out(list(each), readout), tolerance) for readout in READOUTS) for y, each in over_time):
        return
    where = _first_difference(whole, steps, tolerance)
    starts_afresh = where is not None and where.partition(" (")[0] in adapters.interfaces_of(module)
    if where is not None and not starts_afresh:  # a neuron that the network resets in its forward mixes nothing
        what = f"the network mixes time steps, first in {where}: run step by step it computes something else"
        raise Refused(what, _TODO) from refused


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, tolerance, tolerance)


def _first_difference(whole: _Seen, steps: list[_Seen], tolerance: float) -> str | None:
    """The first place at which the steps, put together, are not what the whole run computed; None if it is behind all of them.

    A place where a loop over the time steps comes by is there once for each of them in the whole run. One that the whole run and
    the steps come by in other numbers tells nothing.
    """
    parts = [_by_place(step) for step in steps]
    counts = {where: len(values) for where, values in _by_place(whole).items()}
    turns: dict[str, int] = {}
    for where, value in whole:
        turn = turns[where] = turns.get(where, -1) + 1
        own = [part.get(where, []) for part in parts]
        once = min(map(len, own))
        if once != max(map(len, own)) or not once:
            continue
        if counts[where] == once:
            same = _is_whole(value, [values[turn] for values in own], tolerance)
        elif counts[where] == once * len(steps):
            inner, outer = own[turn % len(steps)][turn // len(steps)], own[turn // once][turn % once]
            same = _close(value, inner, tolerance) or _close(value, outer, tolerance)
        else:
            continue
        if not same:
            return where
    return None


def _by_place(seen: _Seen) -> dict[str, list[Tensor]]:
    values: dict[str, list[Tensor]] = {}
    for where, value in seen:
        values.setdefault(where, []).append(value)
    return values


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
