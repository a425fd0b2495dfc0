"""Shards: a verification split over the chunks of its data, and put together again without loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from snnconv.errors import InputError
from snnconv.results.verification import DataSummary, Verification

_FINGERPRINTS = 2**256


def parse_shard(text: str) -> tuple[int, int]:
    """`"2/4"` as `(2, 4)`. Raises `InputError`."""
    parts = text.split("/")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        i, n = map(int, parts)
        if 1 <= i <= n:
            return i, n
    raise InputError(f"shard is '{text}'", "it is i/n with 1 <= i <= n, as in 2/4")


def merge(found: Iterable[Verification]) -> list[Verification]:
    """The whole runs that these shards make up, one per candidate, in the order of their first appearance.

    Raises `InputError` if shards are missing, double, or of different runs.
    """
    candidates: dict[tuple[str, str], list[Verification]] = defaultdict(list)
    for verification in found:
        candidates[verification.candidate, verification.form].append(verification)
    return [_merge_one(name, shards) for (name, _), shards in candidates.items()]


def _merge_one(name: str, found: Sequence[Verification]) -> Verification:
    shards = _in_order(name, found)
    first = shards[0]
    layers = [one.layers for one in shards if one.layers]
    tasks = [one.tasks for one in shards if one.tasks]
    differences = [one.difference for one in shards if one.difference is not None]
    return replace(
        first,
        shard=None,
        data=_whole([one.data for one in shards]),
        environment=_joined([one.environment for one in shards]),
        checks=tuple(dict.fromkeys(check for one in shards for check in one.checks)),
        layers=tuple(reduce(add, same) for same in zip(*layers, strict=True)),
        difference=min(differences, key=lambda difference: difference.sample, default=None),
        notes=tuple(dict.fromkeys(note for one in shards for note in one.notes)),
        seconds=sum(one.seconds for one in shards),
    ).with_tasks({name: reduce(add, (each[name] for each in tasks)) for name in tasks[0]} if tasks else {})


def _in_order(name: str, found: Sequence[Verification]) -> list[Verification]:
    """The shards of one run by their numbers. Raises `InputError` if these are not all shards of one run, each once."""
    shards: dict[tuple[int, int], Verification] = {}
    for one in found:
        if one.shard is None:
            raise InputError(f"{name}: one of the results is of a whole run", "merge takes the results of verify --shard i/n")
        if one.shard in shards:
            raise InputError(f"{name}: shard {one.shard[0]}/{one.shard[1]} is there twice", "name each result once")
        if not 1 <= one.shard[0] <= one.shard[1]:
            raise InputError(f"{name}: there is no shard {one.shard[0]}/{one.shard[1]}", "verify again with --shard i/n")
        shards[one.shard] = one
    keys = sorted(shards)
    for key in keys[1:]:
        _check_same_run(name, shards[keys[0]], shards[key])
    total = keys[0][1]
    missing = [f"{i}/{total}" for i in range(1, total + 1) if (i, total) not in shards]
    if missing:
        raise InputError(f"{name}: shards {', '.join(missing)} are missing", f"name the results of all {total} shards")
    return [shards[key] for key in keys]


def _whole(data: Sequence[DataSummary]) -> DataSummary:
    """The samples of all shards together."""
    samples = sum(one.samples for one in data)
    length = samples if data[0].length is None else data[0].length
    fingerprint = sum(int(one.fingerprint, 16) for one in data) % _FINGERPRINTS
    return replace(data[0], samples=samples, fingerprint=f"{fingerprint:064x}", length=length)


def _check_same_run(name: str, first: Verification, other: Verification) -> None:
    for what, value in (
        ("source", lambda v: v.source_sha256),
        ("architecture", lambda v: v.arch),
        ("reference", lambda v: v.reference),
        ("settings", lambda v: ", ".join(f"{name} {value}" for name, value in sorted(v.settings.items()))),
        ("version of snnconv", lambda v: v.environment.get("snnconv")),
        ("artifact", lambda v: v.candidate_sha256),
        ("number of shards", lambda v: v.shard[1]),
        ("data", lambda v: v.data.origin),
        ("number of samples of the whole data", lambda v: v.data.length),
        ("first samples (their fingerprint)", lambda v: v.data.start),
        ("levels", lambda v: ", ".join(v.levels)),
    ):
        if value(first) != value(other):
            raise InputError(
                f"{name}: the shards differ in their {what}: {value(first)} and {value(other)}", "merge one run only"
            )


def _joined(environments: Sequence[dict[str, str]]) -> dict[str, str]:
    """Each setting once; if shards ran on unlike machines, all values that were seen."""
    return {key: " | ".join(dict.fromkeys(one.get(key, "") for one in environments)) for key in environments[0]}
