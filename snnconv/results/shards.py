"""Shards: a verification split over the chunks of its data, and put together again without loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from snnconv.errors import InputError
from snnconv.results.verification import Verification

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
    shards = {}
    for one in found:
        if one.shard is None:
            raise InputError(f"{name}: one of the results is of a whole run", "merge takes the results of verify --shard i/n")
        if one.shard in shards:
            raise InputError(f"{name}: shard {one.shard[0]}/{one.shard[1]} is there twice", "name each result once")
        shards[one.shard] = one
    ordered = [shards[key] for key in sorted(shards)]
    first = ordered[0]
    for one in ordered[1:]:
        _check_same_run(name, first, one)
    total = len(ordered)
    of = first.shard[1] if first.shard else 0
    if total != of:
        missing = [f"{i}/{of}" for i in range(1, of + 1) if (i, of) not in shards]
        raise InputError(f"{name}: shards {', '.join(missing)} are missing", f"name the results of all {of} shards")
    layers = [one.layers for one in ordered if one.layers]
    tasks = [one.task for one in ordered if one.task is not None]
    differences = [one.difference for one in ordered if one.difference is not None]
    samples = sum(one.data.samples for one in ordered)
    length = samples if first.data.length is None else first.data.length
    fingerprint = sum(int(one.data.fingerprint, 16) for one in ordered) % _FINGERPRINTS
    return replace(
        first,
        shard=None,
        data=replace(first.data, samples=samples, fingerprint=f"{fingerprint:064x}", length=length),
        environment=_joined([one.environment for one in ordered]),
        checks=tuple(dict.fromkeys(check for one in ordered for check in one.checks)),
        layers=tuple(reduce(add, same) for same in zip(*layers, strict=True)),
        task=reduce(add, tasks) if tasks else None,
        difference=min(differences, key=lambda difference: difference.sample, default=None),
        notes=tuple(dict.fromkeys(note for one in ordered for note in one.notes)),
        seconds=sum(one.seconds for one in ordered),
    )


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
