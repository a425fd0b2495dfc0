"""Damage to what an artifact holds, in every format: the graph stays sound."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from snnconv.artifact.script_archive import METADATA_FILE
from snnconv.ir import pt2
from snnconv.ir.program import put, share, tensors
from tests.verify.damage import but, cases, register, workbench
from tests.verify.damage.workbench import Case

Array = np.ndarray
Values = dict[str, Array]
Change = Callable[[Array, Random], Array]

EVERY_FORMAT = (*cases(".onnx"), *cases(".ts"), *cases(".pt2"))
NORMED = but(EVERY_FORMAT, "plain")


def held(case: Case, artifact: bytes) -> Values:
    """The constants of an artifact by their paths, read without snnconv where the format allows it."""
    if case.suffix == ".onnx":
        return {t.name: numpy_helper.to_array(t).copy() for t in onnx.load_from_string(artifact).graph.initializer}
    if case.suffix == ".ts":
        state = torch.jit.load(io.BytesIO(artifact)).state_dict()
        return {name.removeprefix("body."): value.numpy().copy() for name, value in state.items()}
    program = _program(artifact)
    of_neurons = {f"{n}.{leaf}": v for n, neuron in program.neurons.items() for leaf, v in vars(neuron).items()}
    both = {**tensors(program.graph), **{path: v for path, v in of_neurons.items() if isinstance(v, torch.Tensor)}}
    return {path: value.detach().numpy().copy() for path, value in both.items()}


def holding(case: Case, artifact: bytes, values: Values) -> bytes:
    """The same artifact with other values for some of its constants."""
    arrays = {path: np.asarray(value) for path, value in values.items()}
    return {".onnx": _onnx_holding, ".ts": _script_holding, ".pt2": _program_holding}[case.suffix](artifact, arrays)


def _onnx_holding(artifact: bytes, values: Values) -> bytes:
    model = onnx.load_from_string(artifact)
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return model.SerializeToString()


def _script_holding(artifact: bytes, values: Values) -> bytes:
    extra = {METADATA_FILE: ""}
    module = torch.jit.load(io.BytesIO(artifact), _extra_files=extra)
    for name, tensor in module.state_dict().items():
        if name.removeprefix("body.") in values:
            tensor.copy_(torch.from_numpy(values[name.removeprefix("body.")]))
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files=extra)
    return buffer.getvalue()


def _program_holding(artifact: bytes, values: Values) -> bytes:
    program = _program(artifact)
    graph, neurons = share(program.graph), dict(program.neurons)
    for path, value in values.items():
        layer, _, leaf = path.rpartition(".")
        if layer in neurons:
            neurons[layer] = replace(neurons[layer], **{leaf: torch.from_numpy(value)})
        else:
            put(graph, path, torch.from_numpy(value))
    return workbench.via_file("damaged.pt2", lambda path: pt2.save(replace(program, graph=graph, neurons=neurons), path))


def _program(artifact: bytes) -> Any:
    def write(path: Any) -> None:
        path.write_bytes(artifact)
        loaded.append(pt2.load(path))

    loaded: list[Any] = []
    workbench.via_file("read.pt2", write)
    return loaded[0]


def constant(
    name: str, leaf: str, on: tuple[Case, ...] = EVERY_FORMAT, mutants: int = 3, **options: Any
) -> Callable[[Change], Change]:
    """Register a change of one constant whose path ends with `leaf`."""

    def add(change: Change) -> Change:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            values = held(case, artifact)
            path = rng.choice(sorted(path for path in values if path.endswith(leaf)))
            changed = change(values[path].copy(), rng)
            return holding(case, artifact, {path: np.asarray(changed, values[path].dtype)})

        register("constants", name, damage, on, mutants, **options)
        return change

    return add


def constants(name: str, on: tuple[Case, ...] = EVERY_FORMAT, mutants: int = 3, **options: Any) -> Callable[..., Any]:
    """Register a change `(case, values, rng) -> changed values`."""

    def add(change: Callable[[Case, Values, Random], Values]) -> Callable[[Case, Values, Random], Values]:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            return holding(case, artifact, change(case, held(case, artifact), rng))

        register("constants", name, damage, on, mutants, **options)
        return change

    return add


def place(value: Array, rng: Random, where: Array | None = None) -> tuple[int, ...]:
    """A place of an array, finite and, if given, one where `where` holds."""
    allowed = np.isfinite(value) if where is None else np.isfinite(value) & where
    return tuple(rng.choice(np.argwhere(allowed).tolist()))


def shifted(value: Array, at: tuple[int, ...], rng: Random) -> Array:
    """One value by one unit in the last place, up or down."""
    value[at] = np.nextafter(value[at], np.float32(rng.choice([-np.inf, np.inf])))
    return value


def _ulp(value: Array, rng: Random) -> Array:
    return shifted(value, place(value, rng), rng)


constant("threshold one ulp off", ".threshold", mutants=9, quiet=True)(_ulp)
for _leaf in ("leak", "gain", "offset", "weight", "bias"):
    constant(f"{_leaf} one ulp off", f".{_leaf}", quiet=True)(_ulp)
constant("reset one ulp off", ".reset", but(EVERY_FORMAT, "per_channel"))(_ulp)


@constants("threshold one ulp off where nothing fires", NORMED, 5, quiet=True)
def _(case: Case, values: Values, rng: Random) -> Values:
    neurons = [name for name in workbench.folded(case).neurons if bool(workbench.silent(case, name).any())]
    path = f"{rng.choice(neurons)}.threshold"
    where = workbench.silent(case, path.rpartition(".")[0]).numpy()
    return {path: shifted(values[path], place(values[path], rng, where), rng)}


@constants("never or always made finite", NORMED, quiet=True)
def _(case: Case, values: Values, rng: Random) -> Values:
    infinite = {path: np.argwhere(np.isinf(value)).tolist() for path, value in values.items() if path.endswith(".threshold")}
    path = rng.choice([path for path, found in infinite.items() if found])
    at = tuple(rng.choice(infinite[path]))
    values[path][at] = np.sign(values[path][at]) * np.float32(rng.choice([3.4028235e38, 1e30, 1e4]))
    return {path: values[path]}


@constant("threshold made infinite", ".threshold", NORMED)
def _(value: Array, rng: Random) -> Array:
    value[place(value, rng)] = rng.choice([-np.inf, np.inf])
    return value


@constant("threshold moved", ".threshold")
def _(value: Array, rng: Random) -> Array:
    value[place(value, rng)] += np.float32(rng.choice([-1, 1]) * 10 ** rng.uniform(-6, -0.5))
    return value


@constant("thresholds quantised", ".threshold")
def _(value: Array, rng: Random) -> Array:
    step = np.float32(2.0 ** -rng.randint(4, 16))
    return np.where(np.isfinite(value), np.round(value / step) * step, value)


@constant("thresholds in half precision", ".threshold")
def _(value: Array, rng: Random) -> Array:
    return rounded(value, rng)


def rounded(value: Array, rng: Random) -> Array:
    """Through float16 or bfloat16."""
    half = rng.choice([torch.float16, torch.bfloat16])
    return torch.from_numpy(value).to(half).to(torch.float32).numpy()


def _swap(value: Array, rng: Random) -> Array:
    a, b = rng.sample(range(len(value)), 2)
    value[[a, b]] = value[[b, a]]
    return value


constant("thresholds of two channels swapped", ".threshold", NORMED)(_swap)
constant("weights of two channels swapped", ".weight")(_swap)
constant("biases of two channels swapped", ".bias")(_swap)


@constants("thresholds of another layer", NORMED)
def _(case: Case, values: Values, rng: Random) -> Values:
    a, b = rng.sample(sorted(path for path in values if path.endswith(".threshold")), 2)
    return {a: values[b]}


@constant("inverted bit flipped", ".inverted", NORMED, 5)
def _(value: Array, rng: Random) -> Array:
    value[place(value, rng)] ^= True
    return value


@constant("leak of another amount", ".leak")
def _(value: Array, rng: Random) -> Array:
    return value * np.float32(1 + rng.choice([-1, 1]) * 10 ** rng.uniform(-6, -1))


@constant("reset to another value", ".reset")
def _(value: Array, rng: Random) -> Array:
    return value + np.float32(rng.choice([-1, 1]) * 10 ** rng.uniform(-5, -0.5))


@constants(
    "soft reset by the folded threshold",
    tuple(case for case in EVERY_FORMAT if case.network == "per_element" and case.suffix != ".ts"),
)
def _(case: Case, values: Values, rng: Random) -> Values:
    at = place(values["act1.threshold"], rng)
    return {"act1.reset": values["act1.threshold"][at]}


@constant("weight nudged", ".weight")
def _(value: Array, rng: Random) -> Array:
    value[place(value, rng)] += np.float32(rng.choice([-1, 1]) * 10 ** rng.uniform(-6, -1))
    return value


@constant("weight in half precision", ".weight", quiet=True)
def _(value: Array, rng: Random) -> Array:
    at = place(value, rng)
    value[at] = rounded(value[at].reshape(1), rng)[0]
    return value


@constants("kernel transposed or turned")
def _(case: Case, values: Values, rng: Random) -> Values:
    turns: list[Change] = [
        lambda kernel, _: kernel.swapaxes(2, 3),
        lambda kernel, _: kernel[:, :, ::-1, ::-1],
        lambda kernel, _: kernel[:, :, ::-1],
        lambda kernel, _: kernel[:, :, :, ::-1],
    ]
    path = rng.choice(["conv1.weight", "conv2.weight"])
    return {path: rng.choice(turns)(values[path], rng).copy()}


@constants("weights transposed")
def _(case: Case, values: Values, rng: Random) -> Values:
    path = rng.choice(["conv2.weight", "conv3.weight"])
    return {path: values[path].swapaxes(0, 1).copy()}


@constant("sign of a channel's weights", ".weight")
def _(value: Array, rng: Random) -> Array:
    value[rng.randrange(len(value))] *= -1
    return value


@constant("bias dropped", ".bias")
def _(value: Array, rng: Random) -> Array:
    value[rng.randrange(len(value)) if rng.random() < 0.5 else slice(None)] = 0
    return value


@constant("bias of the next channel", ".bias")
def _(value: Array, rng: Random) -> Array:
    return np.roll(value, rng.choice([-1, 1]))


@constants("gain or offset dropped")
def _(case: Case, values: Values, rng: Random) -> Values:
    leaf, neutral = rng.choice([("gain", 1), ("offset", 0)])
    return {f"act3.{leaf}": np.full_like(values[f"act3.{leaf}"], neutral)}
