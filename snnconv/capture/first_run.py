"""Running one step before it is traced: what neurons carry, which of them run, in which order, and on which shapes."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.capture.slots import Call, Slot, attributes, changed, held_tensors
from snnconv.errors import Refused, first_line
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.ir.time import Outputs
from snnconv.user_code import ON_CPU, UserCodeError, described, running_user_code

_BATCH = 2
_SIZES = (1.0, 1e3, 1e6)
"""Of the values of inputs on which a network is compared with what it does on a blank one."""
_MISSHAPEN = re.compile(r"shape|size|dimension|channel|element|multiplied|\dD", re.IGNORECASE)
"""Words of an error that another shape of the input may help against."""


def carried_attributes(net: nn.Module, paths: Collection[str], contract: TimeContract, call: Call) -> dict[str, frozenset[str]]:
    """The attributes of each neuron that one step of a copy of `net` changes: its state, under whatever names.

    They are empty if the network does not run; the runs that follow say what is wrong with it.
    """
    probe = copy.deepcopy(net)
    before = {path: attributes(probe.get_submodule(path)) for path in paths}
    with suppress(Refused):
        _run_one_step(probe, contract, call)
    return {path: changed(before[path], attributes(probe.get_submodule(path))) for path in paths}


def neurons_that_run(net: nn.Module, slots: list[Slot], contract: TimeContract, call: Call) -> list[Slot]:
    """Those of `slots` that one step of `net` calls, in that order; each knows the shape of its potential afterwards.

    Raises `Refused` if the step does not run, does not return float tensors `[B, K]`, calls a neuron twice, gives a neuron
    another number of rows than the batch has, or makes anything but its current follow from the input.
    """
    _ensure_told_nothing(net, slots, contract, call)
    order: list[Slot] = []
    for slot in slots:
        slot.order, slot.shapes, slot.shown = order, [], {}
    for y in _run_one_step(net, contract, call):
        _ensure_output(y)
    for slot in slots:
        _ensure_called_once(slot, contract.timesteps)
    return order


def _ensure_told_nothing(net: nn.Module, slots: list[Slot], contract: TimeContract, call: Call) -> None:
    """Raise `Refused` if what a neuron holds or is handed besides its current, or the network leaves in its state, is another on
    another input: a stand-in takes no notice of it."""
    noise = torch.randn(_BATCH, *contract.input_shape, generator=torch.Generator().manual_seed(0))
    blank = _told(net, slots, contract, call, torch.zeros_like(noise))
    for size in _SIZES:
        try:
            told = _told(net, slots, contract, call, size * noise)
        except Refused:  # it does not run on such values
            continue
        for slot in slots:
            name = _first_other(blank[slot.path], told[slot.path])
            if name is not None:
                raise Refused(
                    f"the network gives neuron {slot.path} more than its current: its {name} follows from the input",
                    "a neuron's constants must be the same on every input; let the current alone tell it what the input is",
                )


def _first_other(some: dict[str, Tensor], others: dict[str, Tensor]) -> str | None:
    """The name of the first tensor that is another one, or missing, in `others`."""
    for name in some | others:
        pair = some.get(name), others.get(name)
        if any(value is None for value in pair) or not torch.equal(*[value.nan_to_num() for value in pair if value is not None]):
            return name
    return None


def _told(net: nn.Module, slots: list[Slot], contract: TimeContract, call: Call, x: Tensor) -> dict[str, dict[str, Tensor]]:
    """What each neuron held and was handed during a step on `x`, and what its state is afterwards, by the path of its slot."""
    probe = copy.deepcopy(net)
    for slot in slots:
        slot.told, slot.shown = {}, {}
    _run_one_step(probe, contract, call, x)
    left = {slot.path: held_tensors(probe.get_submodule(slot.path)) for slot in slots}
    states = {s.path: {f"{n} after its call": v for n, v in left[s.path].items() if n in s.carried_attributes} for s in slots}
    return {slot.path: slot.told | states[slot.path] for slot in slots}


def _run_one_step(net: nn.Module, contract: TimeContract, call: Call, x: Tensor | None = None) -> Outputs:
    """The outputs of one step of `net` for `x`, or a blank batch. Raises `Refused` if it does not run."""
    try:
        with torch.no_grad(), EntryAt(0), running_user_code("the network", "one step of its forward"):
            return call(net, torch.zeros(_BATCH, *contract.input_shape) if x is None else x)
    except UserCodeError as error:
        raise does_not_run(error, contract) from (error.__cause__ or error)


def does_not_run(error: UserCodeError, contract: TimeContract) -> Refused:
    """The refusal of a network that fails with `error`."""
    cause = error.__cause__ or error
    said = first_line(cause)
    shaped = "give the shape of one frame with --input-shape C,H,W" if _MISSHAPEN.search(said) else ""
    todo = ON_CPU if error.todo == ON_CPU else shaped
    return Refused(
        f"one step of the network does not run on an input of shape {list(contract.input_shape)}: {described(cause)}", todo
    )


def _ensure_output(y: Any) -> None:
    if isinstance(y, Tensor) and y.is_floating_point() and y.dim() >= 1 and len(y) == _BATCH:
        return
    what = f"{y.dtype} of shape {list(y.shape)} for a batch of {_BATCH}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
    raise Refused(f"the network returns {what}", "its forward must return one float tensor [B, ...] a time step")


def _ensure_called_once(slot: Slot, timesteps: int) -> None:
    calls = len(slot.shapes)
    if calls == timesteps > 1:
        raise Refused(
            f"neuron {slot.path} is called {calls} times: the network's forward loops over the time steps itself",
            "give a network whose forward is the inside of that loop; it may be handed its states and return them",
        )
    if calls > 1:
        raise Refused(
            f"neuron {slot.path} is called {calls} times in one time step and would share its potential",
            "give each place its own neuron",
        )
    if calls and slot.rows != _BATCH:
        raise Refused(
            f"neuron {slot.path} is given {slot.rows} rows for a batch of {_BATCH}: other dimensions are merged into the batch",
            "merge them behind the neuron, or keep them as dimensions of their own",
        )
