"""ONNX artifacts, run by ONNX Runtime: same numbers, standard operators, open batch, the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from snnconv import export as exporting
from snnconv.errors import InputError, Refused
from snnconv.export import FORMATS, export, format_of
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import frames, read_out
from snnconv.lower import lower
from snnconv.nn import LIF
from tests.networks import NETWORKS, per_channel, program_of, trained

ONNX, TORCHSCRIPT = FORMATS["onnx"], FORMATS["torchscript"]
ROOT = Path(__file__).parents[2]
MACHINE = (b"/work", b"/tmp", b"/home", b"site-packages", str(ROOT).encode(), str(Path.home()).encode() + b"/")

CONTRACTS = [
    ("per_channel", False, "mean"),
    ("per_element", True, "sum"),
    ("plain", False, "last"),
    ("plain", True, "none"),
]
CLEARANCE = 1e-5


@cache
def folded(name: str, event: bool = False, readout: str = "mean", timesteps: int = 4) -> SpikingProgram:
    return fold(program_of(NETWORKS[name](), timesteps=timesteps, event=event, readout=readout))


def encode(program: SpikingProgram, form: str, batch: int | None = None) -> bytes:
    return exporting.encode(program, ONNX, form, batch)


@cache
def sequence(name: str, event: bool, readout: str, timesteps: int = 4) -> bytes:
    return encode(folded(name, event, readout, timesteps), "sequence")


@cache
def step(name: str) -> bytes:
    return encode(folded(name), "step")


@cache
def fixed(form: str) -> bytes:
    return encode(folded("per_channel"), form, batch=2)


def clear_input(program: SpikingProgram, samples: int) -> Tensor:
    """Input on which no potential comes so close to its threshold that another order of summing could flip the spike."""
    x = torch.rand(program.contract.batch_shape(8 * samples), generator=torch.Generator().manual_seed(3))
    nearest = torch.full((len(x),), torch.inf)

    def watch(name: str, step: int, u: Tensor, spikes: Tensor) -> None:
        distance = (u - program.neurons[name].threshold).abs().flatten(1).amin(1)
        torch.minimum(nearest, distance, out=nearest)

    program.run(x, watch)
    clear = x[nearest > CLEARANCE]
    assert len(clear) >= samples
    return clear[:samples]


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def streamed(model: bytes, program: SpikingProgram, x: Tensor) -> Tensor:
    """The output of all steps `[B, T, K]`, the caller feeding each state back under its name."""
    runner = session(model)
    state = {f"state.{name}": np.zeros((len(x), *n.shape), np.float32) for name, n in program.neurons.items()}
    outputs, names = [], [output.name for output in runner.get_outputs()]
    for frame in frames(x, program.contract.timesteps, program.contract.event):
        values = dict(zip(names, runner.run(names, {"x": frame.numpy(), **state}), strict=True))
        outputs.append(torch.from_numpy(values["y"]))
        state = {name: values[f"next_{name}"] for name in state}
    return read_out(outputs, "none")


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape and (found - expected).abs().max() <= 1e-5


@pytest.mark.sample(2)
@pytest.mark.parametrize(("name", "event", "readout"), CONTRACTS)
def test_sequence_computes_what_the_program_computes_at_any_batch_size(name: str, event: bool, readout: str) -> None:
    program, runner = folded(name, event, readout), session(sequence(name, event, readout))
    x = clear_input(program, 5)
    for batch in (1, 3, 5):
        (y,) = runner.run(["y"], {"x": x[:batch].numpy()})
        assert_close(torch.from_numpy(y), program.run(x[:batch]))
        assert_close(torch.from_numpy(y), program.source.run(x[:batch]))


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_step_computes_what_the_program_computes_at_any_batch_size(name: str) -> None:
    program = folded(name)
    x = clear_input(program, 5)
    for batch in (1, 3, 5):
        assert_close(streamed(step(name), program, x[:batch]).mean(1), program.run(x[:batch]))


def test_streaming_ten_steps_is_the_sequence_of_ten() -> None:
    program = folded("per_element", True, "none", 10)
    x = clear_input(program, 2)
    (whole,) = session(sequence("per_element", True, "none", 10)).run(["y"], {"x": x.numpy()})
    assert whole.shape == (2, 10, 5)
    assert_close(streamed(step("per_element"), program, x), torch.from_numpy(whole))


def test_fixed_batch_takes_that_batch_and_no_other() -> None:
    program = folded("per_channel")
    x = clear_input(program, 3)
    assert_close(streamed(fixed("step"), program, x[:2]).mean(1), program.run(x[:2]))
    runner = session(fixed("sequence"))
    assert_close(torch.from_numpy(runner.run(["y"], {"x": x[:2].numpy()})[0]), program.run(x[:2]))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        runner.run(["y"], {"x": x.numpy()})


def dimensions(values: list[onnx.ValueInfoProto]) -> dict[str, list[str | int]]:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_the_batch_is_a_symbol_unless_it_is_fixed() -> None:
    states = {name: ["batch", 6, 8, 8] for name in ("state.act1", "state.act2", "state.act3")}
    open_, shut = onnx.load_from_string(step("per_channel")).graph, onnx.load_from_string(fixed("step")).graph
    assert dimensions(open_.input) == {"x": ["batch", 2, 8, 8], **states}
    assert dimensions(open_.output) == {"y": ["batch", 5], **{f"next_{name}": size for name, size in states.items()}}
    assert dimensions(shut.input) == {"x": [2, 2, 8, 8], **{name: [2, 6, 8, 8] for name in states}}
    whole = onnx.load_from_string(sequence("plain", True, "none")).graph
    assert dimensions(whole.input) == {"x": ["batch", 4, 2, 8, 8]} and dimensions(whole.output) == {"y": ["batch", 4, 5]}


ARTIFACTS = {
    **{f"{c[0]} {'event' if c[1] else 'static'} {c[2]}": lambda c=c: sequence(*c) for c in CONTRACTS},
    **{f"{name} step": lambda name=name: step(name) for name in NETWORKS},
    "fixed sequence": lambda: fixed("sequence"),
    "fixed step": lambda: fixed("step"),
}


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_only_standard_operators_and_no_norm(artifact: str) -> None:
    model = onnx.load_from_string(ARTIFACTS[artifact]())
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""] and not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert not [node.name for node in model.graph.node if node.metadata_props or node.doc_string]
    used = {node.op_type for node in model.graph.node}
    assert not used & {"BatchNormalization", "InstanceNormalization", "Tanh", "Sigmoid", "Loop", "Scan", "If"}


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_no_path_of_the_machine_is_inside(artifact: str) -> None:
    content = ARTIFACTS[artifact]()
    assert not [path for path in MACHINE if path in content]


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_metadata_says_what_the_artifact_is(artifact: str) -> None:
    model = onnx.load_from_string(ARTIFACTS[artifact]())
    (entry,) = model.metadata_props
    told = json.loads(entry.value)
    assert entry.key == "snnconv" and told["form"] == ("step" if "step" in artifact else "sequence")
    assert [neuron["name"] for neuron in told["neurons"]] == ["act1", "act2", "act3"] == list(told["tensors"])
    assert told["contract"]["input_shape"] == [2, 8, 8] and told["source"]["sha256"] == "0" * 64
    assert told["batch"] == (2 if "fixed" in artifact else None)
    assert {site["outcome"] for site in told["sites"]} <= {"exact", "rounding"}
    values = {name for node in model.graph.node for name in node.output}
    steps = 1 if told["form"] == "step" else told["contract"]["timesteps"]
    for kinds in told["tensors"].values():
        assert len(kinds["potential"]) == len(kinds["spike"]) == steps
        assert {*kinds["potential"], *kinds["spike"]} <= values


def test_the_named_tensors_are_the_potentials_and_spikes_of_every_step() -> None:
    program, model = folded("per_element", True, "sum"), onnx.load_from_string(sequence("per_element", True, "sum"))
    table = json.loads(model.metadata_props[0].value)["tensors"]
    wanted = [(neuron, kind, t, name) for neuron, kinds in table.items() for kind in kinds for t, name in enumerate(kinds[kind])]
    types = {"potential": onnx.TensorProto.FLOAT, "spike": onnx.TensorProto.BOOL}
    for _, kind, _, name in wanted:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, types[kind], None))
    x = clear_input(program, 3)
    seen: dict[tuple[str, int], dict[str, Tensor]] = {}
    program.run(x, lambda name, t, u, spikes: seen.__setitem__((name, t), {"potential": u, "spike": spikes}))
    found = session(model.SerializeToString()).run([name for *_, name in wanted], {"x": x.numpy()})
    for (neuron, kind, t, _), value in zip(wanted, found, strict=True):
        assert_close(torch.from_numpy(value).float(), seen[neuron, t][kind])


def test_two_neurons_on_one_current_are_both_watched() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.a, self.b = nn.Conv2d(2, 3, 3), LIF(), LIF(threshold=0.2, reset="soft")

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return (self.a(y) - self.b(y)).flatten(1)

    program = fold(program_of(trained(Two()), timesteps=2))
    model = encode(program, "sequence")
    x = clear_input(program, 2)
    assert_close(torch.from_numpy(session(model).run(["y"], {"x": x.numpy()})[0]), program.run(x))
    table = json.loads(onnx.load_from_string(model).metadata_props[0].value)["tensors"]
    assert table["a"]["potential"] == ["a.potential.0", "a.potential.1"]
    assert table["b"]["potential"] == ["a.potential.0", "b.potential.1"] and table["b"]["spike"] == ["b.spike.0", "b.spike.1"]


def test_a_neuron_on_the_input_leaves_the_input_its_name() -> None:
    program = fold(program_of(nn.Sequential(LIF(), nn.Flatten()), timesteps=2))
    runner = session(encode(program, "sequence"))
    x = clear_input(program, 2)
    assert_close(torch.from_numpy(runner.run(["y"], {"x": x.numpy()})[0]), program.run(x))


@pytest.mark.parametrize("artifact", ["per_channel static mean", "per_channel step"])
def test_every_constant_is_an_initializer_of_its_own_name(artifact: str) -> None:
    model = onnx.load_from_string(ARTIFACTS[artifact]())
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for path, tensor in lower(folded("per_channel"), "step" if "step" in artifact else "sequence").constants().items():
        assert np.array_equal(held[path], tensor.numpy()) and held[path].dtype == tensor.numpy().dtype, path


def test_a_single_step_keeps_the_constants_of_what_is_carried() -> None:
    model = onnx.load_from_string(encode(folded("per_channel", timesteps=1), "sequence"))
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for path, tensor in lower(folded("per_channel", timesteps=1), "sequence").constants().items():
        assert np.array_equal(held[path], tensor.numpy()), path


def test_the_same_program_gives_the_same_bytes() -> None:
    assert encode(folded("per_channel"), "sequence") == sequence("per_channel", False, "mean")
    again = fold(program_of(NETWORKS["per_channel"]()))
    assert encode(again, "step") == step("per_channel")


IN_ANOTHER_PROCESS = """
import hashlib
from tests.export import test_onnx as t
t.folded("plain")
print("digest", hashlib.sha256(t.step("per_channel") + t.sequence("per_channel", False, "mean")).hexdigest())
"""


@pytest.mark.long
def test_another_process_gives_the_same_bytes() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(step("per_channel") + sequence("per_channel", False, "mean")).hexdigest()
    assert re.search(r"digest (\w+)", done.stdout).group(1) == here


class Unknown(nn.Module):
    """Ends in an operator that ONNX does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.act = LIF()

    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(self.act(x).flatten(1) + 1)


def test_an_operator_without_translation_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"no ONNX translation of .*lgamma") as error:
        encode(fold(program_of(Unknown())), "sequence")
    assert "TorchScript may" in error.value.todo and "\n" not in str(error.value)


def test_the_format_follows_from_the_suffix_or_the_name() -> None:
    assert format_of(Path("a/net.onnx")) is ONNX and format_of(Path("net.bin"), "onnx") is ONNX
    assert format_of(Path("net.ts")) is format_of(Path("net.torchscript")) is TORCHSCRIPT
    with pytest.raises(InputError, match=r"unknown suffix '.xyz'; use one of .onnx \(onnx\), .ts \(torchscript\)"):
        format_of(Path("net.xyz"))
    with pytest.raises(InputError, match="--format 'tflite' is unknown"):
        format_of(Path("net.onnx"), "tflite")


def test_export_writes_the_encoded_program(tmp_path: Path) -> None:
    export(folded("per_channel"), tmp_path / "net.onnx", ONNX, "sequence", 2)
    assert (tmp_path / "net.onnx").read_bytes() == fixed("sequence")


def test_a_step_shows_every_potential_under_its_name() -> None:
    model = onnx.load_from_string(encode(fold(program_of(per_channel())), "step"))
    made = {name for node in model.graph.node for name in node.output}
    assert {f"{neuron}.potential" for neuron in ("act1", "act2", "act3")} <= made


class Scaled(nn.Module):
    """Its scores, scaled by a constant of its own that bears a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.act, self.head, self.name = LIF(), nn.Linear(6, 4), name
        self.register_buffer(name, torch.full((4,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(x)) * getattr(self, self.name)


@pytest.mark.parametrize(("name", "end"), [("x", "an input"), ("y", "an output")])
def test_a_constant_that_is_called_as_an_end_of_the_graph_is_refused_by_name(name: str, end: str) -> None:
    program = fold(program_of(Scaled(name), shape=(6,)))
    for form in ("sequence", "step"):
        with pytest.raises(Refused, match=f"a constant called {name}, as {end} of its ONNX graph is; rename it"):
            encode(program, form)
        assert exporting.encode(program, TORCHSCRIPT, form)
