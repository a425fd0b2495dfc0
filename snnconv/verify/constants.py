"""Level 1: every constant that the artifact holds, against a fresh fold of the source.

Thresholds, leaks, resets and masks must be equal bit for bit: the fresh fold proves each threshold with two evaluations of the
reference kernel (`snnconv.fold.membrane_norm`), and equality carries the proof over. A folded weight must be the correctly
rounded value of a float64 fold: within half a unit in its own last place.
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor

from snnconv.engines import Candidate
from snnconv.lower.ops import CONSTANTS
from snnconv.results import Check
from snnconv.verify.reference import Reference


def check_constants(reference: Reference, candidate: Candidate) -> list[Check]:
    """One check per layer that holds constants."""
    fresh, exact = reference.constants(candidate.form), reference.constants64(candidate.form)
    held = candidate.constants()
    neurons = set(reference.folded.neurons)
    problems = {path: _problem(path, fresh[path], exact[path], held.get(path), neurons) for path in fresh}
    checks = []
    for layer, paths in groupby(sorted(fresh, key=_layer), key=_layer):
        mine = list(paths)
        bad = [problems[path] for path in mine if problems[path]]
        count = sum(fresh[path].numel() for path in mine)
        checks.append(Check("proof", layer, not bad, "; ".join(bad) or f"{count} constants confirmed"))
    return checks


def _layer(path: str) -> str:
    return path.rpartition(".")[0]


def _problem(path: str, fresh: Tensor, exact: Tensor, held: Tensor | None, neurons: set[str]) -> str:
    leaf = path.rpartition(".")[2]
    if held is None:
        return f"{leaf} is missing"
    if held.shape != fresh.shape or held.dtype != fresh.dtype:
        return f"{leaf} is {held.dtype} {list(held.shape)}, not {fresh.dtype} {list(fresh.shape)}"
    of_neuron = _layer(path) in neurons and leaf in CONSTANTS
    wrong = held != fresh if of_neuron or not held.is_floating_point() else _beyond_rounding(held, exact)
    count = int(wrong.sum())
    if not count:
        return ""
    first = tuple(wrong.nonzero()[0].tolist()) if wrong.dim() else ()
    where = f" at {list(first)}" if first else ""
    return f"{count} of {held.numel()} in {leaf} differ, first{where}: {held[first].item()!r}, not {fresh[first].item()!r}"


def _beyond_rounding(held: Tensor, exact: Tensor) -> Tensor:
    if torch.equal(held, exact.to(held.dtype)):
        return torch.zeros((), dtype=torch.bool)
    upper = torch.nextafter(held, torch.full_like(held, torch.inf)).double()
    lower_ = torch.nextafter(held, torch.full_like(held, -torch.inf)).double()
    value = held.double()
    return ~((exact <= (value + upper) / 2) & (exact >= (value + lower_) / 2))
