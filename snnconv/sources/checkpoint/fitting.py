"""From a checkpoint to the tensors of a network: which set of weights, which of its tensors is which, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from snnconv.claims import check_total
from snnconv.errors import InputError, Refused
from snnconv.files import reading
from snnconv.sources.checkpoint import reparametrised
from snnconv.sources.checkpoint.matching import TRACKED, Match, Wanted, matches
from snnconv.sources.checkpoint.soundness import DAMAGED, sound
from snnconv.sources.checkpoint.values import Inert, Stored, walk
from snnconv.sources.checkpoint.weight_sets import WeightSet, in_line, is_copy, joined, listed, named, preferred, weight_sets
from snnconv.sources.options import SourceOptions

_SHARD = re.compile(r"-\d+-of-\d+")


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        path: the file.
        sha256: of the bytes of the file, in hex; of an index, of those of all shards in the order of their names, behind its own.
        size: how many bytes those are.
        value: what it holds: plain data, `Stored` tensors and `Inert` records.
    """

    path: Path
    sha256: str
    size: int
    value: Any


@dataclass(frozen=True)
class Fit:
    """A network found in a set of weights, or what is nearest to it.

    Attributes:
        weights: the set.
        tensors: those of the set, their keys as `--ignore` and `--rename` leave them.
        match: which tensor is which.
        notes: in words, what was chosen, renamed and left out.
        problem: in words, why the network does not fit; empty if it does.
        todo: what to do about that besides taking another factory; empty if there is nothing else.
    """

    weights: WeightSet
    tensors: dict[str, Stored]
    match: Match
    notes: tuple[str, ...] = ()
    problem: str = ""
    todo: str = ""


@dataclass(frozen=True)
class Fitted:
    """The tensors of a network by its own keys, floats as float32, and notes in words on what was changed and left out."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def fit(checkpoint: Checkpoint, wanted: Wanted, options: SourceOptions) -> Fit:
    """The network in the checkpoint, or what is nearest to it, with the problem.

    Raises `InputError` if there are no weights in the file, several sets that fit equally well, or none that an option names, and
    `Refused` if they could be read only by running code.
    """
    sets = weight_sets(checkpoint.value)
    if not sets:
        raise _without_weights(checkpoint)
    if options.weights is not None:
        sets = [named(sets, options.weights, checkpoint.path)]
    tried = _tried(sets, wanted, options)
    if all(found.problem for found in tried):
        tried += _tried(joined(sets), wanted, options)
    fitting = [found for found in tried if not found.problem]
    if not fitting:
        nearest = max(tried, key=lambda found: found.match.agreement)
        one_of_several = _SHARD.search(checkpoint.path.name) and nearest.match.missing
        return replace(nearest, todo="it is one shard of several: name their index") if one_of_several else nearest
    best = preferred([found.weights for found in fitting])
    names = [found.weights.name for found in fitting if found.weights is not best]
    if best is None:
        raise InputError(
            f"{checkpoint.path}: holds several sets of weights that fit: {listed(names, 8)}", "name one with --weights"
        )
    chosen = next(found for found in fitting if found.weights is best)
    where = (f"state-dict found under {best.where}",) if best.path else ()
    others = [f"{listed(names)} would fit as well: --weights takes another set"] if names else []
    needed = sum(map(wanted.needs, wanted.shapes))
    others += [f"'{f.weights.name}' does not fit: {f.problem}" for f in tried if f.problem and f.match.agreement >= needed]
    return replace(chosen, notes=(*where, *others, *chosen.notes, *_left_out(checkpoint, best)))


def take(checkpoint: Checkpoint, found: Fit, options: SourceOptions) -> Fitted:
    """Read the tensors of a network that was found and has no problem.

    Raises `InputError` if the network cannot run with them, the file is damaged, or an option named no key.
    """
    _ensure_named(checkpoint.path, found.weights, options)
    chosen = {key: found.tensors[own] for key, own in found.match.keys.items()}
    with reading(checkpoint.path, "is damaged", DAMAGED):
        check_total(sum(value.nbytes for value in chosen.values()), checkpoint.size)
    notes: list[str] = []
    tensors = {key: sound(checkpoint.path, key, value, notes) for key, value in chosen.items()}
    if any(value.numpy for value in chosen.values()):
        notes.append("arrays of numpy read as tensors")
    return Fitted(tensors, tuple(map(in_line, (*found.notes, *dict.fromkeys(notes)))))


def _tried(sets: Sequence[WeightSet], wanted: Wanted, options: SourceOptions) -> list[Fit]:
    """How the sets fit that have enough tensors, or the largest one if none has."""
    needed = sum(map(wanted.needs, wanted.shapes))
    largest = max(sets, key=lambda one: len(one.tensors), default=None)
    return [_fit_set(one, wanted, options) for one in sets if one is largest or len(one.tensors) >= needed]


def _fit_set(weights: WeightSet, wanted: Wanted, options: SourceOptions) -> Fit:
    tensors, notes = _as_told(weights.tensors, options)
    renamed, form = reparametrised.in_form_of(tensors, wanted.shapes)
    notes += [form] if form else []
    found = matches({key: value.shape for key, value in renamed.items()}, wanted)
    originals = [match for match in found if not is_copy(match.prefix)] or found
    match = originals[0]
    others = [other.prefix for other in found if other is not match]
    if len(originals) > 1:
        names = listed([other.prefix for other in originals], 8)
        problem = f"it fits behind each of the prefixes {names}"
        return Fit(weights, renamed, match, problem=problem, todo="leave all but one out with --ignore 'PREFIX*'")
    beside = match.beside(renamed)
    problem, todo = _problem(match, wanted, renamed, weights) if not match.fits else _suspicion(match, beside, others)
    return Fit(weights, renamed, match, (*notes, *_notes(match, beside, wanted)), problem, todo)


def _as_told(tensors: Mapping[str, Stored], options: SourceOptions) -> tuple[dict[str, Stored], list[str]]:
    """The tensors without those that `--ignore` names, the others called as `--rename` says, and notes."""
    kept: dict[str, Stored] = {}
    for key, value in tensors.items():
        if not any(fnmatchcase(key, pattern) for pattern in options.ignore or ()):
            new = _renamed(key, options.rename or ())
            if new in kept:
                raise InputError(f"--rename gives '{new}' to several keys", "leave one out with --ignore")
            kept[new] = value
    dropped = [key for key in tensors if any(fnmatchcase(key, pattern) for pattern in options.ignore or ())]
    notes = [f"ignored as asked: {listed(dropped)}"] if dropped else []
    return kept, notes + [f"renamed as asked: {rule}" for rule in options.rename or ()]


def _renamed(key: str, rules: Sequence[str]) -> str:
    for rule in rules:
        start, _, new = rule.partition("=")
        if _begins(key, start.rstrip(".")):
            return ".".join(part for part in (new.rstrip("."), key.removeprefix(start.rstrip(".")).lstrip(".")) if part)
    return key


def _ensure_named(path: Path, weights: WeightSet, options: SourceOptions) -> None:
    """Raise `InputError` for an option that names no key of the weights."""
    unused = [("ignore", rule) for rule in options.ignore or () if not any(fnmatchcase(key, rule) for key in weights.tensors)]
    unused += [("rename", rule) for rule in options.rename or () if all(_renamed(key, [rule]) == key for key in weights.tensors)]
    for option, rule in unused[:1]:
        raise InputError(f"{path}: --{option} '{rule}' changes no key of the file", f"there are {listed(list(weights.tensors))}")


def _begins(key: str, start: str) -> bool:
    return key == start or key.startswith(f"{start}.")


def _problem(match: Match, wanted: Wanted, tensors: Mapping[str, Stored], weights: WeightSet) -> tuple[str, str]:
    """How a match differs from what is wanted, and what to do about it."""
    fact = reparametrised.difference(match)
    if fact:
        return fact
    inert = [key for key in match.missing if match.prefix + key.removeprefix(match.root) in weights.inert]
    parts = [f"{word} {listed(keys)}" for word, keys in (("missing", match.missing), ("unexpected", tuple(match.extra))) if keys]
    parts += [f"'{key}' is {list(tensors[match.keys[key]].shape)}, not {_shown(wanted.shapes[key])}" for key in match.unlike[:1]]
    parts += [f"'{key}' is no tensor, but something that only code could make" for key in inert[:1]]
    only_extra = match.extra and not match.missing and not match.unlike
    return "; ".join(
        parts
    ), "use the factory it was trained with; --ignore KEYS leaves out what it does not need" if only_extra else ""


def _shown(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _suspicion(match: Match, beside: Sequence[str], others: Sequence[str]) -> tuple[str, str]:
    """Why what stands beside a network makes it doubtful that this network is meant; empty if it does not."""
    names = {name for key in match.keys for name in (key, key.removeprefix(match.root))}
    twice = [key for key in beside if key in names and not key.endswith(TRACKED)]
    if twice:
        what = f"{listed(twice)} stand there both with and without the prefix '{match.prefix}'"
        return what, "leave out what is not meant with --ignore KEYS"
    foreign = [key for key in beside if not key.startswith(tuple(others)) and not is_copy(key) and not key.endswith(TRACKED)]
    if len(foreign) > len(match.keys):
        what = (
            f"only {len(match.keys)} of its tensors, behind '{match.prefix}', belong to the network; others are {listed(foreign)}"
        )
        return what, "use the factory it was trained with; --ignore KEYS leaves out what it does not need"
    return "", ""


def _notes(match: Match, beside: Sequence[str], wanted: Wanted) -> list[str]:
    """What a match renames and leaves out, in words."""
    notes = []
    if match.prefix != match.root and match.keys:
        dropped, added = match.prefix, match.root
        if dropped.endswith(added):
            dropped, added = dropped[: len(dropped) - len(added)], ""
        elif added.endswith(dropped):
            dropped, added = "", added[: len(added) - len(dropped)]
        notes += [f"prefix '{dropped}' dropped from every key"] if dropped else []
        notes += [f"prefix '{added}' added to every key"] if added else []
    inner = [(own, key) for key, own in match.keys.items() if own.removeprefix(match.prefix) != key.removeprefix(match.root)]
    if inner:
        more = f", and so {len(inner) - 1} more" if len(inner) > 1 else ""
        notes.append(f"'{inner[0][0]}' read as '{inner[0][1]}'{more}")
    notes += [f"left out, beside the network: {listed(beside, 6)}"] if beside else []
    notes += [f"states of neurons at run time left out: {listed(match.states)}"] if match.states else []
    kept = [key for key in wanted.shapes if key in wanted.optional and key not in match.keys]
    if kept:
        notes.append(
            f"not in the file, which an older version of the framework wrote, so that the factory's hold: {listed(kept)}"
        )
    return notes


def _left_out(checkpoint: Checkpoint, weights: WeightSet) -> list[str]:
    """A note on what a file holds that is neither a tensor nor plain data."""
    found = []
    for path, value in walk(checkpoint.value):
        if isinstance(value, Inert):
            found.append(f"'{'/'.join(path)}' ({value.name})")
        elif isinstance(value, Stored) and value.numpy and path[:-1] != weights.path:
            found.append(f"'{'/'.join(path)}' (an array of numpy)")
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return [f"left out, no code was run: {', '.join(found[:4])}{more}"] if found else []


def _without_weights(checkpoint: Checkpoint) -> InputError | Refused:
    """The error for a file without any weights, or with weights that only code could make."""
    inert = [(path, value) for path, value in walk(checkpoint.value) if isinstance(value, Inert)]
    path, code = next(((path, value) for path, value in inert if value.is_module or not path), ((), None))
    name = checkpoint.path.name
    if code is None:
        return InputError(
            f"{checkpoint.path}: holds {_described(checkpoint.value)}, not a state-dict",
            "save one with torch.save(model.state_dict(), FILE) or as .safetensors",
        )
    what = f"{checkpoint.path}: loading it would run code ({code.name}); snnconv never unpickles code"
    if not code.is_module:
        return Refused(what, "save only the weights: torch.save(model.state_dict(), FILE)")
    keys = "".join(f"[{key!r}]" for key in path)
    load = f"net = torch.load({name!r}, weights_only=False){keys}"
    return Refused(what, f"save only the weights, where its code is at hand: {load}; torch.save(net.state_dict(), FILE)")


def _described(value: Any) -> str:
    if isinstance(value, Stored):
        return f"one tensor of shape {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict without tensors (keys {listed([str(key) for key in value])})" if value else "an empty dict"
    return f"a {type(value).__name__}"
