"""Damage to what changes from step to step, and to states that carry a normalised potential."""

from __future__ import annotations

from random import Random

import numpy as np
import onnx
from onnx import numpy_helper

from tests.verify.damage import register
from tests.verify.damage.constants import Array, Values, constants, place, shifted
from tests.verify.damage.workbench import Case

STEPS = tuple(
    Case("steps", suffix, form, event=event)
    for suffix, form in ((".onnx", "sequence"), (".onnx", "step"), (".ts", "sequence"), (".ts", "step"), (".pt2", "step"))
    for event in ((False, True) if form == "sequence" else (False,))
)


def _changing(values: Values, rng: Random) -> str:
    """A constant with an entry per step."""
    return rng.choice(
        sorted(path for path, v in values.items() if v.ndim > 3 and v.shape[1] == 1 and path.startswith(("act", "norm")))
    )


def _per_step(name: str, mutants: int = 5, **options: bool):
    def add(change):
        @constants(name, STEPS, mutants, **options)
        def _(case: Case, values: Values, rng: Random) -> Values:
            path = _changing(values, rng)
            return {path: np.ascontiguousarray(change(values[path].copy(), rng))}

        return change

    return add


@_per_step("constants of two steps swapped")
def _(value: Array, rng: Random) -> Array:
    a, b = rng.sample(range(len(value)), 2)
    value[[a, b]] = value[[b, a]]
    return value


@_per_step("constants one step late")
def _(value: Array, rng: Random) -> Array:
    return np.concatenate([value[:1], value[:-1]])


@_per_step("constants one step early")
def _(value: Array, rng: Random) -> Array:
    return np.concatenate([value[1:], value[-1:]])


@_per_step("constants of the first step at every step")
def _(value: Array, rng: Random) -> Array:
    return np.broadcast_to(value[:1], value.shape)


@_per_step("constants averaged over the steps")
def _(value: Array, rng: Random) -> Array:
    return np.broadcast_to(value.mean(0, keepdims=True), value.shape)


@_per_step("one entry of one step one ulp off", quiet=True)
def _(value: Array, rng: Random) -> Array:
    return shifted(value, place(value, rng), rng)


@constants("raw potential carried instead of the normalised one", STEPS, 5)
def _(case: Case, values: Values, rng: Random) -> Values:
    changed = {path: np.full_like(v, 0.25) for path, v in values.items() if path == "act1.leak"}
    return {**changed, "act1.shift": np.zeros_like(values["act1.shift"])}


@constants("shift of the carried potential forgotten", STEPS, 5)
def _(case: Case, values: Values, rng: Random) -> Values:
    return {"act1.shift": np.zeros_like(values["act1.shift"])}


def _count_by(steps: int):
    def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
        model = onnx.load_from_string(artifact)
        (node,) = (node for node in model.graph.node if "next_state.time_step" in node.output)
        (one,) = (t for t in model.graph.initializer if t.name in node.input)
        fresh = numpy_helper.from_array(np.full_like(numpy_helper.to_array(one), steps), "another_count")
        model.graph.initializer.append(fresh)
        node.input[list(node.input).index(one.name)] = fresh.name
        return model.SerializeToString()

    return damage


for _steps, _name in ((0, "steps are not counted"), (2, "every step counts twice")):
    register("ONNX graphs", _name, _count_by(_steps), tuple(c for c in STEPS if (c.suffix, c.form) == (".onnx", "step")), 1)
