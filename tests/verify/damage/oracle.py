"""Is a damaged artifact a mutant, or does it only look different? Decided without the verifier.

It is one if it says another thing about itself, holds another constant, computes other potentials, spikes or outputs in its own
runtime, watched or not, once or twice, or decides otherwise at equality, on inputs made by hand.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from snnconv.engines import Candidate, RunFailure, open_candidate
from snnconv.errors import SnnconvError
from tests.verify.damage import ROUNDING, workbench
from tests.verify.damage.constants import Values, held, holding
from tests.verify.damage.workbench import Case

Seen = dict[str, Tensor]
"""What a run shows: outputs, and potentials and spikes by layer and step."""


Seen = dict[str, Tensor]
"""What a run shows by what it is: outputs, and potentials and spikes by layer and step. All of `[B, ...]`."""


def difference(case: Case, mutant: bytes, rounding: float = ROUNDING) -> str:
    """What makes `mutant` differ from the sound artifact of `case`; empty where nothing does."""
    sound = workbench.artifact(case)
    if metadata(case, mutant) != metadata(case, sound):
        return "says something else about itself"
    before, after = held(case, sound), held(case, mutant)
    for path, value in before.items():
        if path not in after or after[path].shape != value.shape or bool((after[path] != value).any()):
            return f"holds another {path}"
    try:
        # Optimizing code takes longer than running it once.
        with torch.jit.optimized_execution(False):
            unlike = differs(_sound_on_trials(case), everything(opened(case, mutant), trials(case)), rounding)
            return unlike or at_equality(case, mutant, before)
    except (SnnconvError, RunFailure) as error:
        return f"does not run: {error}"


def flips(case: Case, mutant: bytes) -> int | None:
    """Spikes that differ from the sound artifact's on the data of the exam; None where it does not run."""
    sound, count = workbench.observed(case), 0
    with suppress(SnnconvError, RunFailure, ValueError):
        seen = opened(case, mutant).observe(workbench.data(case).x)
        for name, steps in sound.spikes.items():
            count += sum(int(((a > 0) != (b > 0)).sum()) for a, b in zip(steps, seen.spikes[name], strict=True))
        return count
    return None


def opened(case: Case, artifact: bytes) -> Candidate:
    """An artifact in its runtime."""
    found: list[Candidate] = []

    def write(path: Path) -> None:
        path.write_bytes(artifact)
        found.append(open_candidate(path).load())

    workbench.via_file(f"opened{case.suffix}", write)
    return found[0]


def metadata(case: Case, artifact: bytes) -> dict[str, Any]:
    """What an artifact says about itself and a runtime goes by."""
    if case.suffix == ".onnx":
        return _card(next(p.value for p in onnx.load_from_string(artifact).metadata_props if p.key == "snnconv"))
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        if case.suffix == ".ts":
            return _card(archive.read(next(name for name in archive.namelist() if name.endswith("/extra/snnconv.json"))))
        manifest = json.loads(archive.read("program.json"))
    return {key: manifest[key] for key in ("contract", "neurons")}


def _card(text: str | bytes) -> dict[str, Any]:
    said = json.loads(text)
    neurons = {neuron["name"]: neuron["shape"] for neuron in said["neurons"]}
    return {"neurons": neurons, **{key: said.get(key) for key in ("form", "batch", "contract", "tensors")}}


@cache
def trials(case: Case) -> Tensor:
    """Inputs of many sizes and both signs."""
    generator = torch.Generator().manual_seed(7)
    shape = workbench.folded(case).contract.batch_shape(2)

    def uniform() -> Tensor:
        return torch.rand(shape, generator=generator)

    normal = torch.randn(shape, generator=generator)
    return torch.cat([uniform(), (uniform() < 0.3).float(), normal, normal * 8, normal * 100, normal * 1e4, uniform() * 1e3])


@cache
def _sound_on_trials(case: Case) -> Seen:
    return dict(everything(opened(case, workbench.artifact(case)), trials(case)))


def everything(candidate: Candidate, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """All that can be seen of an artifact, watched and not, once and again."""
    for again in ("", ", again"):
        yield from ((f"output {i}, unwatched{again}", y) for i, y in enumerate(candidate.outputs(x)))
        seen = candidate.observe(x)
        yield from ((f"output {i}{again}", y) for i, y in enumerate(seen.outputs))
        for kind, values in (("potential", seen.potentials), ("spikes", seen.spikes), ("memory", seen.memories)):
            for name, steps in values.items():
                yield from ((f"{kind} of {name} at step {step}{again}", value) for step, value in enumerate(steps))
    yield from ((f"output {i}, one sample alone", y) for i, y in enumerate(candidate.outputs(x[:1])))
    first = getattr(getattr(candidate, "module", None), "initial_state", None)
    if first is not None:
        yield from ((f"first state of {name}", value) for name, value in first(2).items())


def differs(sound: Seen, found: Iterator[tuple[str, Tensor]], rounding: float) -> str:
    """The first thing that is not what it should be."""
    for what, value in found:
        expected = sound.get(what)
        if expected is None or expected.shape != value.shape:
            return what
        a, b = expected.double().flatten(1), value.double().flatten(1)
        error = (a - b).abs().amax(1)
        if not bool((error <= rounding * a.abs().amax(1)).all()):
            return what
    return ""


def at_equality(case: Case, mutant: bytes, constants: Values) -> str:
    """Bring the potentials of every layer onto its thresholds, one float below and one above, by the constants in front of it."""
    if case.network not in workbench.NETS:
        return ""
    x = trials(case)[:4]
    for layer in workbench.folded(case).neurons:
        for way in _ways(f"{layer}.leak" in constants and bool((constants[f"{layer}.leak"] != 1).any())):
            changed = _meeting(constants, layer, *way)
            unlike = differs(
                _sound_at_equality(case, layer, way), everything(opened(case, holding(case, mutant, changed)), x), ROUNDING
            )
            if unlike:
                return f"{unlike}, where potentials meet the thresholds of {layer}"
    return ""


@cache
def _sound_at_equality(case: Case, layer: str, way: tuple[int, int]) -> Seen:
    sound = workbench.artifact(case)
    changed = _meeting(held(case, sound), layer, *way)
    return dict(everything(opened(case, holding(case, sound, changed)), trials(case)[:4]))


def _ways(leaky: bool) -> list[tuple[int, int]]:
    """`(steps, floats)`: after that step, or any where the leak is 0, the potential is that many floats from its threshold."""
    return [(1, 0), (1, 1), (1, -1)] + ([] if leaky else [(2, 0), (3, 0), (3, 1), (3, -1), (3, 2), (3, -2)])


def _meeting(constants: Values, layer: str, steps: int, floats: int) -> Values:
    """Nothing but a constant current into `layer`, and neither leak nor reset: its potential is known exactly."""
    rng = Random(f"{layer} {steps} {floats}")
    threshold = constants[f"{layer}.threshold"]
    wide = np.broadcast_to(threshold, (6, *threshold.shape[1:]))
    one = np.array([rng.choice(channel.ravel().tolist()) for channel in wide], np.float32)
    value = np.where(np.isfinite(one), one, 0).astype(np.float32) / np.float32(steps)
    for _ in range(abs(floats)):
        value = np.nextafter(value, np.float32(floats * np.inf))
    number = layer[-1]
    front = {f"conv{number}.weight": np.zeros_like(constants[f"conv{number}.weight"]), f"conv{number}.bias": value}
    if f"{layer}.gain" in constants:
        front = {f"{layer}.gain": np.zeros_like(constants[f"{layer}.gain"]), f"{layer}.offset": value.reshape(-1, 1, 1)}
    still = {path: np.zeros_like(constants[path]) for path in (f"{layer}.leak", f"{layer}.reset") if path in constants}
    if f"{layer}.leak" in still and not bool((constants[f"{layer}.leak"] != 1).any()):
        del still[f"{layer}.leak"]
    return {**front, **still}
