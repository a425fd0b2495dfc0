"""`assert_equivalent` in tests of other people: a verdict, or an AssertionError that says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snnconv.data import Data
from snnconv.errors import InputError
from snnconv.results.verdict import Policy
from snnconv.sources import SourceOptions, load_source
from snnconv.testing import NotEquivalent, assert_equivalent
from tests.cli.run import ARCH, place

pytestmark = pytest.mark.usefixtures("exported_once")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program, a sound artifact and one of another network."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.pth", "raw.pt2", "net.onnx", "net.ts"):
        place(tmp_path, name)
    extra = {"snnconv.json": ""}
    module = torch.jit.load("net.ts", _extra_files=extra)
    with torch.no_grad():
        module.state_dict()["body.conv2.weight"][4] *= 1.01
    torch.jit.save(module, "wrong.ts", extra)
    np.savez("data.npz", x=np.random.default_rng(0).random((5, 2, 8, 8), np.float32), y=np.arange(5))
    return tmp_path


def test_a_sound_artifact_gives_its_verdict(here: Path) -> None:
    verdict = assert_equivalent("raw.pt2", "net.onnx", "data.npz")
    assert (verdict.word, verdict.equivalent, verdict.complete) == ("EQUIVALENT", True, True)
    found = verdict.verification
    assert (found.source, found.candidate, found.data.origin, found.data.samples) == ("raw.pt2", "net.onnx", "data.npz", 5)
    assert len(found.candidate_sha256) == 64


def test_another_network_is_an_assertion_that_names_its_layers(here: Path) -> None:
    with pytest.raises(NotEquivalent) as caught:
        assert_equivalent("raw.pt2", "wrong.ts", "data.npz")
    assert isinstance(caught.value, AssertionError)
    assert not caught.value.verdict.equivalent
    lines = str(caught.value).splitlines()
    assert lines[0] == "wrong.ts is not equivalent to raw.pt2"
    assert lines[1].startswith("  proof conv2: 54 of 324 in weight differ, first at [4, 0, 0, 0]: ")
    assert len(lines) == 1 + len(caught.value.verdict.faults)
    assert any(line.startswith("  deployment act2: ") for line in lines)


def test_paths_may_be_paths_and_whole(here: Path) -> None:
    found = assert_equivalent(here / "raw.pt2", here / "net.ts", here / "data.npz").verification
    assert (found.source, found.candidate) == ("raw.pt2", "net.ts"), "a path of the machine is in the result"


def test_options_of_the_source_are_those_of_the_command_line(here: Path) -> None:
    assert assert_equivalent("net.pth", "net.onnx", "data.npz", arch=ARCH[1]).equivalent
    with pytest.raises(NotEquivalent, match="timesteps is 4 in the artifact, 3 in the source"):
        assert_equivalent("net.pth", "net.onnx", "data.npz", arch=ARCH[1], timesteps=3)
    with pytest.raises(TypeError, match="architecture"):
        assert_equivalent("net.pth", "net.onnx", "data.npz", architecture=ARCH[1])


def test_the_settings_file_is_read_as_the_commands_read_it(here: Path) -> None:
    settings = f'[tool.snnconv]\narch = "{ARCH[1]}"\n[tool.snnconv.verify]\nlogit-error = 0\n'
    Path("pyproject.toml").write_text(settings)
    with pytest.raises(NotEquivalent, match="the policy allows a logit error of 0") as caught:
        assert_equivalent("net.pth", "net.onnx", "data.npz")
    assert caught.value.verdict.verification.settings["arch"] == f"{ARCH[1]} (pyproject.toml)"
    Path("snn.toml").write_text("timesteps = 3")
    with pytest.raises(NotEquivalent, match="timesteps is 4 in the artifact, 3 in the source"):
        assert_equivalent("net.pth", "net.onnx", "data.npz", config="snn.toml", arch=ARCH[1])


def test_labels_and_shards_are_those_of_the_command_line(here: Path) -> None:
    np.save("x.npy", np.load("data.npz")["x"])
    np.save("y.npy", np.arange(5))
    verdict = assert_equivalent("raw.pt2", "net.ts", "x.npy", labels="y.npy", shard="1/1", levels=("task",))
    assert verdict.verification.task is not None
    assert (verdict.verification.task.labelled, verdict.verification.shard) == (5, (1, 1))
    with pytest.raises(InputError, match=r"y\.npy: labels go with the samples of a file"):
        assert_equivalent("raw.pt2", "net.ts", labels="y.npy")


def test_frames_in_memory_are_events(here: Path) -> None:
    frames = Data(torch.zeros(2, 4, 2, 8, 8), None, "frames")
    with pytest.raises(NotEquivalent, match="event input is False in the artifact, True in the source"):
        assert_equivalent("net.pth", "net.onnx", frames, arch=ARCH[1])


def test_a_source_and_samples_may_be_in_memory(here: Path) -> None:
    source = load_source(Path("net.pth"), SourceOptions(arch=ARCH[1]))
    data = Data(torch.rand(3, 2, 8, 8), None, "of this test")
    found = assert_equivalent(source, "net.onnx", data).verification
    assert (found.source, found.data.origin, found.data.samples) == (ARCH[1], "of this test", 3)


def test_options_mean_nothing_to_a_source_that_is_loaded(here: Path) -> None:
    source = load_source(Path("net.pth"), SourceOptions(arch=ARCH[1]))
    with pytest.raises((TypeError, InputError)):
        assert_equivalent(source, "net.onnx", "data.npz", timesteps=3)


def test_without_data_it_is_noise_and_says_so(here: Path) -> None:
    a, b = (assert_equivalent("raw.pt2", "net.onnx", seed=seed).verification.data for seed in (0, 1))
    assert a.origin.startswith("synthetic noise, seed 0")
    assert a.samples == 16
    assert a.fingerprint != b.fingerprint


@pytest.mark.sample(1)
@pytest.mark.parametrize("policy", [{"logit-error": 0}, {"logit_error": 0}, Policy(logit_error=0)])
def test_the_policy_is_a_policy_or_its_settings(policy: Policy | dict[str, float], here: Path) -> None:
    with pytest.raises(NotEquivalent, match=r"task whole network: .*the policy allows a logit error of 0"):
        assert_equivalent("raw.pt2", "net.onnx", "data.npz", policy=policy)


def test_a_policy_of_another_name_is_an_error_of_the_test(here: Path) -> None:
    with pytest.raises(InputError, match="unknown setting 'agreements'"):
        assert_equivalent("raw.pt2", "net.onnx", "data.npz", policy={"agreements": 1})


def test_some_levels_alone_are_not_a_whole_verdict(here: Path) -> None:
    verdict = assert_equivalent("raw.pt2", "wrong.ts", "data.npz", levels=("algebra",))
    assert verdict.word == "NO FAULT FOUND in algebra (proof, deployment, task not checked)"
    with pytest.raises(InputError, match="unknown level 'all'"):
        assert_equivalent("raw.pt2", "wrong.ts", "data.npz", levels=("all",))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nope.pt2", "net.onnx", "data.npz"), "nope.pt2: no such file"),
        (("raw.pt2", "nope.onnx", "data.npz"), "nope.onnx: no such file"),
        (("raw.pt2", "net.onnx", "nope.npz"), "nope.npz: no such file"),
        (("raw.pt2", "net.pth", "data.npz"), "unknown suffix '.pth'"),
    ],
)
def test_what_cannot_be_read_is_no_assertion(arguments: tuple[str, ...], words: str, here: Path) -> None:
    with pytest.raises(InputError, match=words):
        assert_equivalent(*arguments)


def test_importing_it_loads_nothing_heavy() -> None:
    """pytest loads the plugin in every project in whose environment snnconv is."""
    code = "import sys, snnconv.testing.plugin; print({'torch', 'numpy', 'onnx', 'snnconv.verify'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
