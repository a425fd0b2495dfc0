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
from snnconv.results import UNPROVEN, Check
from snnconv.verify.reference import Reference


def check_constants(reference: Reference, candidate: Candidate, ours: bool = True) -> list[Check]:
    """One check per layer that holds constants.

    `ours` says that the graph is that of a fresh export. In another one, a constant may be missing or have another type or shape
    (a tool may have merged, transposed or narrowed it): that is unproven.
    """
    fresh, exact = reference.constants(candidate.form), reference.constants64(candidate.form)
    held = candidate.constants()
    neurons = set(reference.folded.neurons)
    shapes = {path: _misfit(path, fresh[path], held.get(path)) for path in fresh}
    values = {path: "" if shapes[path] else _difference(path, fresh[path], exact[path], held[path], neurons) for path in fresh}
    checks = []
    for layer, paths in groupby(sorted(fresh, key=_layer), key=_layer):
        mine = list(paths)
        bad = [shapes[path] or values[path] for path in mine if shapes[path] or values[path]]
        count = sum(fresh[path].numel() for path in mine)
        is_open = bool(bad) and not ours and not any(values[path] for path in mine)
        said = "; ".join(bad) or f"{count} constants confirmed"
        checks.append(Check("proof", layer, not bad, said, open=UNPROVEN if is_open else ""))
    return checks


def _layer(path: str) -> str:
    return path.rpartition(".")[0]


def _misfit(path: str, fresh: Tensor, held: Tensor | None) -> str:
    """Whether a constant is missing, or of another type or shape, in words."""
    leaf = path.rpartition(".")[2]
    if held is None:
        return f"{leaf} is missing"
    if held.shape != fresh.shape or held.dtype != fresh.dtype:
        return f"{leaf} is {held.dtype} {list(held.shape)}, not {fresh.dtype} {list(fresh.shape)}"
    return ""


def _difference(path: str, fresh: Tensor, exact: Tensor, held: Tensor, neurons: set[str]) -> str:
    """Which values of a constant are not those of a fresh fold, in words."""
    leaf = path.rpartition(".")[2]
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
