"""What the forward of a network returns: which parts of it are the outputs, and whether time is a dimension of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snnconv.errors import InputError, Refused
from snnconv.hints import meant

Path = tuple[int | str, ...]
"""The way to a part of what is returned: indices and names, empty for the whole."""
LISTED = "listed"
"""Time is a list of one tensor per step."""
EVERY = "all"
"""What the user gives for every output."""


@dataclass(frozen=True)
class Output:
    """A part of what a forward returns that is an output of the network.

    Attributes:
        path: the way to it.
        time: the dimension of it that is time, `LISTED` if it is a list of steps, or None if it has no time: it is the output of
            one step, or already read out.
    """

    path: Path = ()
    time: int | str | None = None

    @property
    def name(self) -> str:
        """The path in words, as `--output` takes it; empty for the whole."""
        return named(self.path)

    def pick(self, returned: Any) -> Any:
        """The output in `returned`. Raises `Refused` if it is not there, or no float tensor."""
        found = entry(returned, self.path)
        if self.time == LISTED or isinstance(found, Tensor):
            return found
        raise Refused(f"the network returns a {type(found).__name__}", "its forward must return a float tensor, or several")

    def steps(self, returned: Any) -> list[Tensor]:
        """The outputs `[B, ...]` of all steps, if the output has time."""
        found = self.pick(returned)
        return list(found) if self.time == LISTED else list(found.unbind(self.time))


@dataclass(frozen=True)
class Part:
    """One tensor in what is returned: an `Output` and what it was on a probing run."""

    output: Output
    value: Tensor

    def __str__(self) -> str:
        return f"{self.output.name or 'output'} {list(self.value.shape)}"


def entry(value: Any, path: Path) -> Any:
    """The part of `value` at the end of `path`. Raises `Refused` if there is none."""
    for key in path:
        children = dict(_children(value))
        if key not in children:
            raise Refused(f"the network returns no output {named(path)} on this input", "let it return the same on every input")
        value = children[key]
    return value


def named(path: Path) -> str:
    """A path in words: `heads.1`."""
    return ".".join(map(str, path))


def parts(value: Any, path: Path = ()) -> Iterator[Part]:
    """Every tensor in `value`, what is neither a tensor nor a container left out."""
    if isinstance(value, Tensor):
        yield Part(Output(path), value)
    for key, child in _children(value):
        yield from parts(child, (*path, key))


def parts_over_time(one: Any, several: Any, timesteps: int, path: Path = ()) -> Iterator[Part]:
    """The parts of what a run of `timesteps` steps returned, told from `one`, what a run of one step returned.

    What differs from that run only in one dimension, 1 there and T here, has time there.
    """
    if isinstance(one, Tensor) and isinstance(several, Tensor):
        unlike = [dim for dim, sizes in enumerate(zip(one.shape, several.shape, strict=False)) if sizes[0] != sizes[1]]
        if one.dim() != several.dim() or len(unlike) > 1 or any(several.shape[d] != timesteps for d in unlike):
            return
        yield Part(Output(path, unlike[0] if unlike else None), several)
        return
    ours, theirs = dict(_children(one)), dict(_children(several))
    if len(ours) == 1 and len(theirs) == timesteps > 1 and isinstance(one, Sequence):
        if all(isinstance(step, Tensor) for step in theirs.values()):
            yield Part(Output(path, LISTED), torch.stack(list(theirs.values())))
        return
    for key in ours:
        if key in theirs:
            yield from parts_over_time(ours[key], theirs[key], timesteps, (*path, key))


@dataclass(frozen=True)
class Choice:
    """The parts of what is returned that are the outputs, in their order, and what is to be said of that."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


def choose(found: Sequence[Part], wanted: str | None, others: Sequence[Part] = ()) -> Choice:
    """The outputs of a network: those that are `wanted`, which may be `EVERY`, or the only one, or the spikes of spikes and
    potentials.

    `others` are what it returns besides: no real numbers. Raises `InputError` if there is no output that is `wanted`, and
    `Refused` if the user has to choose.
    """
    if wanted is not None and wanted != EVERY:
        return Choice(_wanted(found, wanted))
    if not found:
        raise Refused("the network returns no tensor", "its forward must return one float tensor, or several")
    worth = _worth_a_choice(found)
    if wanted == EVERY:
        names = [part.output.name for part in worth]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise Refused(f"the network returns two outputs called {twice}", "give each a name of its own")
        return Choice(tuple(worth), tuple(_left_out([*found, *others], worth)))
    first, *further = worth
    if not further:
        return Choice((first,))
    if is_spikes(first.value) and all(other.value.shape == first.value.shape for other in further):
        listed = ", ".join(other.output.name for other in further)
        return Choice((first,), (f"output {first.output.name}, the spikes, was taken; {listed} was left out (--output)",))
    listed = "; ".join(map(str, worth))
    one, another = (part.output.name for part in worth[:2])
    todo = f"choose one, as in --output {one}, or several, as in --output {one},{another}, or take them all with --output {EVERY}"
    raise Refused(f"the network has {len(worth)} outputs: {listed}", todo)


def _wanted(found: Sequence[Part], wanted: str) -> tuple[Part, ...]:
    """The parts that are called so: one, or several with commas."""
    named = {part.output.name: part for part in found}
    if not any(isinstance(part.output.path[0], int) for part in found if part.output.path):
        named = {**{str(i): part for i, part in enumerate(found)}, **named}
    listed = [wanted] if wanted in named else [name.strip() for name in wanted.split(",")]
    for i, name in enumerate(listed):
        if name not in named:
            names = [part.output.name for part in found]
            raise InputError(
                f"the network has no output '{name}'", f"{meant(name, names)}it returns {'; '.join(map(str, found))}"
            )
        if name in listed[:i]:
            raise InputError(f"--output names {name} twice", "name each output once")
    return tuple(named[name] for name in listed)


def _left_out(found: Sequence[Part], outputs: Sequence[Part]) -> Iterator[str]:
    """Notes on what is returned and is no output, though all of them were asked for."""
    for part in found:
        if any(part is output for output in outputs):
            continue
        same = next((output for output in outputs if output.value is part.value), None)
        what = f"the same tensor as {same.output.name}" if same is not None else _kind(part.value)
        yield f"{part.output.name} is returned as well, and left out: it is {what}"


def _kind(value: Tensor) -> str:
    """Why a tensor is no output, in words."""
    if not value.is_floating_point():
        return str(value.dtype).removeprefix("torch.")
    return "empty" if value.dim() else "a number"


def _worth_a_choice(found: Sequence[Part]) -> list[Part]:
    """The parts without those that are another one again, and without numbers and empty tensors beside the outputs of samples."""
    once = {id(part.value): part for part in reversed(found)}
    parts = [part for part in found if once[id(part.value)] is part]
    return [part for part in parts if part.value.dim() and part.value.numel()] or parts


def is_spikes(value: Tensor) -> bool:
    """Whether a tensor holds nothing but 0 and 1."""
    return bool(((value == 0) | (value == 1)).all())


def _children(value: Any) -> Iterator[tuple[int | str, Any]]:
    """What a container of a network's outputs holds, by index or name."""
    if isinstance(value, Mapping):
        yield from ((key if isinstance(key, int) else str(key), child) for key, child in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
