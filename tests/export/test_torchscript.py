"""TorchScript artifacts: same numbers, any number of steps, loadable where snnconv is not."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv import export as exporting
from snnconv.errors import Refused
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.ir.time import READOUTS, frames, read_out
from snnconv.lower import lower
from snnconv.nn import LIF
from tests.export.test_onnx import CONTRACTS, MACHINE, ROOT, TORCHSCRIPT, assert_close, clear_input, folded
from tests.networks import NETWORKS, Foreign, Named, program_of


def encode(program: SpikingProgram, form: str, batch: int | None = None) -> bytes:
    return exporting.encode(program, TORCHSCRIPT, form, batch)


@cache
def sequence(name: str, event: bool, readout: str) -> bytes:
    return encode(folded(name, event, readout), "sequence")


@cache
def step(name: str) -> bytes:
    return encode(folded(name), "step")


def opened(archive: bytes) -> Any:
    return torch.jit.load(io.BytesIO(archive)).eval()


def streamed(module: Any, program: SpikingProgram, x: Tensor) -> Tensor:
    """The output of all steps `[B, T, K]`."""
    state, outputs = module.initial_state(len(x)), []
    for frame in frames(x, program.contract.timesteps, program.contract.event):
        y, state = module(frame, state)
        outputs.append(y)
    return read_out(outputs, "none")


@pytest.mark.parametrize(("name", "event", "readout"), CONTRACTS)
def test_sequence_computes_what_the_program_computes_at_any_batch_size(name: str, event: bool, readout: str) -> None:
    program, module = folded(name, event, readout), opened(sequence(name, event, readout))
    x = clear_input(program, 5)
    for batch in (1, 3, 5):
        assert_close(module(x[:batch]), program.run(x[:batch]))
        assert_close(module(x[:batch]), program.source.run(x[:batch]))


@pytest.mark.parametrize("name", NETWORKS)
def test_step_computes_what_the_program_computes_at_any_batch_size(name: str) -> None:
    program, module = folded(name), opened(step(name))
    x = clear_input(program, 5)
    for batch in (1, 3, 5):
        assert_close(streamed(module, program, x[:batch]).mean(1), program.run(x[:batch]))


@pytest.mark.parametrize("event", [False, True], ids=["static", "event"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("timesteps", [1, 7])
def test_sequence_takes_another_number_of_steps_than_it_was_made_with(event: bool, readout: str, timesteps: int) -> None:
    program, module = folded("per_element", event, readout), opened(sequence("per_element", event, readout))
    longer = replace(program, contract=replace(program.contract, timesteps=timesteps))
    x = clear_input(longer, 2)
    assert_close(module(x) if event else module(x, timesteps), longer.run(x))


def test_streaming_ten_steps_is_the_sequence_of_ten() -> None:
    program = folded("per_element", True, "none", 10)
    x = clear_input(program, 2)
    whole = opened(sequence("per_element", True, "none"))(x)
    assert whole.shape == (2, 10, 5)
    assert_close(streamed(opened(step("per_element")), program, x), whole)


@pytest.mark.parametrize("event", [False, True], ids=["static", "event"])
def test_observe_shows_the_potentials_and_spikes_of_every_step(event: bool) -> None:
    program = folded("per_channel", event, "mean")
    x = clear_input(program, 3)
    y, potentials, spikes = opened(sequence("per_channel", event, "mean")).observe(x)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in program.neurons}
    assert_close(y, program.run(x, lambda name, t, u, s: seen[name].append((u, s))))
    for name, values in seen.items():
        u, s = (torch.cat(steps) for steps in zip(*values, strict=True))
        assert_close(potentials[name], u)
        assert torch.equal(spikes[name], s)


def test_observing_a_step_shows_its_potentials_and_spikes() -> None:
    program, module = folded("plain"), opened(step("plain"))
    x = clear_input(program, 3)
    y, following, potentials, spikes = module.observe(x, module.initial_state(3))
    assert y.shape == (3, 5) and following.keys() == potentials.keys() == spikes.keys() == program.neurons.keys()
    seen: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    program.run(x, lambda name, t, u, s: seen.__setitem__((name, t), (u, s)))
    for name in program.neurons:
        assert_close(potentials[name], seen[name, 0][0])
        assert torch.equal(spikes[name], seen[name, 0][1])


def test_states_are_named_after_the_neurons_and_start_at_zero() -> None:
    module = opened(step("per_channel"))
    state = module.initial_state(3)
    assert {name: tuple(s.shape) for name, s in state.items()} == dict.fromkeys(("act1", "act2", "act3"), (3, 6, 8, 8))
    assert not any(s.any() for s in state.values())
    assert module(torch.zeros(3, 2, 8, 8), state)[1].keys() == state.keys()


ARTIFACTS = {
    **{f"{c[0]} {'event' if c[1] else 'static'} {c[2]}": lambda c=c: sequence(*c) for c in CONTRACTS},
    **{f"{name} step": lambda name=name: step(name) for name in NETWORKS},
}


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_no_norm_and_no_surrogate_is_inside(artifact: str) -> None:
    graph = str(opened(ARTIFACTS[artifact]()).inlined_graph)
    used = set(re.findall(r"(\w+::\w+)\(", graph))
    assert "aten::conv2d" in used and {name.partition("::")[0] for name in used} <= {"aten", "prim"}
    assert not used & {"aten::batch_norm", "aten::tanh", "aten::sigmoid"}


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_no_path_of_the_machine_is_inside(artifact: str) -> None:
    content = ARTIFACTS[artifact]()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [content, *(archive.read(name) for name in archive.namelist())]
    assert not [path for path in MACHINE for member in members if path in member]


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_metadata_says_what_the_artifact_is(artifact: str) -> None:
    extra = {"snnconv.json": ""}
    torch.jit.load(io.BytesIO(ARTIFACTS[artifact]()), _extra_files=extra)
    told = json.loads(extra["snnconv.json"])
    assert told["form"] == ("step" if "step" in artifact else "sequence") and told["batch"] is None
    assert [neuron["name"] for neuron in told["neurons"]] == ["act1", "act2", "act3"]
    assert told["contract"]["input_shape"] == [2, 8, 8] and told["source"]["sha256"] == "0" * 64


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_constants_keep_their_paths(form: str) -> None:
    program = folded("per_channel")
    held = opened(encode(program, form)).state_dict()
    expected = lower(program, form).constants()
    assert held.keys() == {f"body.{path}" for path in expected}
    assert all(torch.equal(held[f"body.{path}"], tensor) for path, tensor in expected.items())


@pytest.mark.xfail(strict=False, reason="torch.jit numbers the classes it compiles (___torch_mangle_N) within a process")
@pytest.mark.parametrize("form", ["sequence", "step"])
def test_the_same_program_gives_the_same_bytes(form: str) -> None:
    assert encode(folded("per_channel"), form) == encode(folded("per_channel"), form)


FIRST_IN_A_PROCESS = """
import hashlib
from tests.export import test_torchscript as t
print("digest", hashlib.sha256(t.step("per_channel")).hexdigest())
"""


@pytest.mark.long
def test_another_process_gives_the_same_bytes() -> None:
    digests = set()
    for seed in ("1", "7"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", FIRST_IN_A_PROCESS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(re.search(r"digest (\w+)", done.stdout).group(1))
    assert len(digests) == 1


WITHOUT_SNNCONV = """
import sys, torch
whole, step = (torch.jit.load(path).eval() for path in sys.argv[1:3])
x, expected = torch.load(sys.argv[3], weights_only=True)
state, outputs = step.initial_state(len(x)), []
for _ in range(4):
    y, state = step(x, state)
    outputs.append(y)
assert (whole(x) - expected).abs().max() <= 1e-5
assert (torch.stack(outputs).mean(0) - expected).abs().max() <= 1e-5
assert whole(x, 9).shape == expected.shape
assert not [name for name in sys.modules if name.partition(".")[0] in ("snnconv", "tests")]
print("alone")
"""


def test_artifacts_run_in_a_process_without_snnconv(tmp_path: Path) -> None:
    program = folded("per_channel")
    x = clear_input(program, 3)
    paths = [tmp_path / "whole.ts", tmp_path / "step.ts", tmp_path / "data.pt"]
    paths[0].write_bytes(sequence("per_channel", False, "mean"))
    paths[1].write_bytes(step("per_channel"))
    torch.save([x, program.run(x)], paths[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-c", WITHOUT_SNNCONV, *map(str, paths)]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "alone\n", done.stderr


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_operators_mean_what_they_mean_in_this_version_of_torch(form: str) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), LIF(), nn.Conv2d(3, 3, 1), nn.GELU("tanh"), nn.Flatten())
    data = encode(fold(program_of(net.eval())), form)
    assert "gelu" in torch.jit.load(io.BytesIO(data)).body.code


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_a_fixed_batch_is_refused(form: str) -> None:
    with pytest.raises(Refused, match="any batch size, so --batch has nothing to fix; leave it out"):
        encode(folded("per_channel"), form, batch=2)


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_an_operator_that_torch_lacks_is_refused(form: str) -> None:
    with pytest.raises(Refused):
        encode(fold(program_of(Foreign())), form)


def test_a_name_that_torch_cannot_read_back_is_refused() -> None:
    net = Named("größe")
    with pytest.raises(Refused, match="cannot read back the name of neuron 'größe'; rename it in ASCII, or export ONNX"):
        encode(fold(program_of(net)), "sequence")
