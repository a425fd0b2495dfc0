"""A verifier that cannot fail is worth nothing: every kind of damage to an artifact must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from snnconv import pt2
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.program import SpikingProgram
from snnconv.results import Verification
from snnconv.runtimes import open_candidate
from snnconv.sources import Source
from snnconv.verify import Data, verify
from tests.networks import NETWORKS, inputs, source_of

OnnxDamage = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {name: source_of(NETWORKS[name]()) for name in ("per_channel", "per_element")}


@pytest.fixture(scope="module")
def folded(sources: dict[str, Source]) -> dict[str, SpikingProgram]:
    return {name: fold(source.program) for name, source in sources.items()}


def verdict(source: Source, artifact: Path) -> Verification:
    data = Data(inputs(source), None, "noise")
    return verify(source, open_candidate(artifact), data, ("source", artifact.name))


_EXPORTED: dict[tuple[int, str, str], bytes] = {}


def exported(program: SpikingProgram, path: Path, form: str = "sequence") -> Path:
    """Export once per program, format and form; every test gets its own copy."""
    key = (id(program), path.suffix, form)
    if key not in _EXPORTED:
        export(program, path, format_of(path), form)
        _EXPORTED[key] = path.read_bytes()
    path.write_bytes(_EXPORTED[key])
    return path


@pytest.mark.parametrize("name", ["per_channel", "per_element"])
@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("suffix", [".onnx", ".ts"])
def test_an_undamaged_artifact_is_equivalent(
    name: str, form: str, suffix: str, sources: dict[str, Source], folded: dict[str, SpikingProgram], tmp_path: Path
) -> None:
    result = verdict(sources[name], exported(folded[name], tmp_path / f"net{suffix}", form))
    assert result.equivalent, result.faults


def edit(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Change an initializer in place, or by what `change` returns."""
    held = next(t for t in model.graph.initializer if t.name == name)
    value = numpy_helper.to_array(held).copy()
    changed = change(value)
    held.CopyFrom(numpy_helper.from_array(value if changed is None else changed, name))


def one_ulp(value: np.ndarray) -> np.ndarray:
    flat = value.reshape(-1)
    i = int(np.flatnonzero(np.isfinite(flat))[0])
    flat[i] = np.nextafter(flat[i], np.float32(np.inf))
    return value


def flip_first(value: np.ndarray) -> np.ndarray:
    value.reshape(-1)[0] ^= True
    return value


def swap_channels(value: np.ndarray) -> np.ndarray:
    value[[1, 2]] = value[[2, 1]]
    return value


def scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda value: (value * np.float32(factor)).astype(value.dtype)


def nudge_one(value: np.ndarray) -> np.ndarray:
    value.reshape(-1)[7] += np.float32(1e-4)
    return value


def producer(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def rewire(model: onnx.ModelProto, op: str, change: Callable[[onnx.NodeProto], None]) -> None:
    """Change the first node of a kind."""
    change(next(node for node in model.graph.node if node.op_type == op))


def set_op(to: str) -> Callable[[onnx.NodeProto], None]:
    return lambda node: setattr(node, "op_type", to)


def swap_inputs(a: int, b: int) -> Callable[[onnx.NodeProto], None]:
    def change(node: onnx.NodeProto) -> None:
        node.input[a], node.input[b] = node.input[b], node.input[a]

    return change


def repeat_last_step(model: onnx.ModelProto) -> None:
    """One layer that runs three steps and shows its third spike twice."""
    concat = next(n for n in model.graph.node if n.op_type == "Concat" and n.input[0] == "act2.spike.0")
    concat.input[3] = concat.input[2]


def drop_last_step(model: onnx.ModelProto) -> None:
    concat = next(n for n in model.graph.node if n.op_type == "Concat" and n.input[0] == "act2.spike.0")
    del concat.input[3]


def forget_state(model: onnx.ModelProto) -> None:
    """The second step starts from the fresh current instead of the kept potential."""
    node = producer(model, "act2.potential.1")
    node.input[0] = node.input[1]


def read_maximum(model: onnx.ModelProto) -> None:
    rewire(model, "ReduceMean", set_op("ReduceMax"))


ONNX_DAMAGE: dict[str, tuple[str, OnnxDamage]] = {
    "one threshold by one ulp": ("per_channel", lambda m: edit(m, "act2.threshold", one_ulp)),
    "one threshold of an element by one ulp": ("per_element", lambda m: edit(m, "act1.threshold", one_ulp)),
    "one inverted channel": ("per_channel", lambda m: edit(m, "act1.inverted", flip_first)),
    "the leak": ("per_channel", lambda m: edit(m, "act3.leak", scaled(1.001))),
    "the leak by one ulp": ("per_channel", lambda m: edit(m, "act3.leak", lambda v: np.nextafter(v, np.float32(1)))),
    "the hard reset": ("per_channel", lambda m: edit(m, "act1.reset", lambda v: v + np.float32(0.01))),
    "the soft reset": ("per_element", lambda m: edit(m, "act1.reset", scaled(0.99))),
    "one weight": ("per_channel", lambda m: edit(m, "conv2.weight", nudge_one)),
    "one bias": ("per_channel", lambda m: edit(m, "conv1.bias", one_ulp)),
    "two swapped channels": ("per_channel", lambda m: edit(m, "conv2.weight", swap_channels)),
    "two swapped thresholds": ("per_channel", lambda m: edit(m, "act2.threshold", swap_channels)),
    "the gain of a norm on a sum": ("per_channel", lambda m: edit(m, "act3.gain", scaled(1.0001))),
    "the head transposed in sign": ("per_channel", lambda m: edit(m, "head.weight", scaled(-1))),
    "a layer that repeats a step": ("per_channel", repeat_last_step),
    "a layer with one step less": ("per_channel", drop_last_step),
    "a layer that forgets its state": ("per_channel", forget_state),
    "reset and kept potential exchanged": ("per_channel", lambda m: rewire(m, "Where", swap_inputs(1, 2))),
    "below instead of above": ("per_channel", lambda m: rewire(m, "Greater", set_op("Less"))),
    "a read-out of the maximum": ("per_element", read_maximum),
}


@pytest.mark.parametrize("damage", ONNX_DAMAGE)
def test_damage_to_onnx_is_found(
    damage: str, sources: dict[str, Source], folded: dict[str, SpikingProgram], tmp_path: Path
) -> None:
    name, apply = ONNX_DAMAGE[damage]
    path = exported(folded[name], tmp_path / "net.onnx")
    model = onnx.load(path)
    apply(model)
    onnx.save(model, path)
    assert not verdict(sources[name], path).equivalent


def nudged(t: torch.Tensor) -> torch.Tensor:
    flat = t.clone().view(-1)
    i = int(flat.isfinite().nonzero()[0])
    flat[i] = torch.nextafter(flat[i], torch.tensor(torch.inf))
    return flat.view(t.shape)


TENSOR_DAMAGE: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "one threshold by one ulp": ("act2.threshold", nudged),
    "the leak": ("act2.leak", lambda t: t * 1.01),
    "the reset": ("act2.reset", lambda t: t + 0.01),
    "one weight": ("conv2.weight", lambda t: t + torch.eye(9)[0].view(3, 3) * 1e-4),
    "two swapped channels": ("conv2.weight", lambda t: t[[0, 2, 1, 3, 4, 5]]),
    "one inverted channel": ("act1.inverted", lambda t: t ^ (torch.arange(6).view(6, 1, 1) == 3)),
}


@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("damage", TENSOR_DAMAGE)
def test_damage_to_torchscript_is_found(
    damage: str, form: str, sources: dict[str, Source], folded: dict[str, SpikingProgram], tmp_path: Path
) -> None:
    path = exported(folded["per_channel"], tmp_path / "net.ts", form)
    extra = {"snnconv.json": ""}
    module = torch.jit.load(str(path), _extra_files=extra)
    name, change = TENSOR_DAMAGE[damage]
    held = open_candidate(path).constants()[name]
    target = next(
        v for v in module.state_dict().values() if v.shape == held.shape and torch.equal(v, held) and v.dtype == held.dtype
    )
    target.copy_(change(held))
    torch.jit.save(module, str(path), _extra_files=extra)
    assert not verdict(sources["per_channel"], path).equivalent


PROGRAM_DAMAGE: dict[str, Callable[[SpikingProgram], SpikingProgram]] = {
    "one threshold by one ulp": lambda p: with_neuron(p, threshold=nudged(p.neurons["act2"].threshold)),
    "the leak": lambda p: with_neuron(p, leak=p.neurons["act2"].leak * 1.01),
    "the reset": lambda p: with_neuron(p, reset=p.neurons["act2"].reset + 0.01),
    "hard reset made soft": lambda p: with_neuron(p, soft=True),
    "one inverted channel": lambda p: with_neuron(p, inverted=torch.arange(6).view(6, 1, 1) == 3),
    "strictness": lambda p: with_neuron(p, strict=False),
    "T": lambda p: replace(p, contract=replace(p.contract, timesteps=3)),
    "the read-out": lambda p: replace(p, contract=replace(p.contract, readout="last")),
}


def with_neuron(program: SpikingProgram, **changes: object) -> SpikingProgram:
    return replace(program, neurons={**program.neurons, "act2": replace(program.neurons["act2"], **changes)})  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", PROGRAM_DAMAGE)
def test_damage_to_a_program_is_found(
    damage: str, sources: dict[str, Source], folded: dict[str, SpikingProgram], tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"
    pt2.save(PROGRAM_DAMAGE[damage](folded["per_channel"]), path)
    assert not verdict(sources["per_channel"], path).equivalent
