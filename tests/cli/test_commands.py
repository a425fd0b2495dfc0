"""The five commands on a small network: what they print, write and answer, and that a damaged artifact never passes."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from junitparser import JUnitXml

import tests.networks  # noqa: F401  (imported here, it is found from any folder)
from tests.cli.run import ARCH, ROOT, made, place, run, run_process
from tests.networks import per_channel
from tests.test_inspection import untaught

LAYERS = ["act1", "act2", "act3", "conv1", "conv2", "conv3", "head"]
NEURONS = ["act1", "act2", "act3"]
CHECKS = [
    ("contract", "", ""),
    *(("proof", layer, "") for layer in LAYERS),
    ("algebra", "", ""),
    *(("deployment", layer, "comparison") for layer in NEURONS),
    *(("deployment", layer, "extreme") for layer in (*NEURONS, "output")),
    *(("deployment", layer, "threshold") for layer in (*NEURONS, "output")),
    *(("deployment", layer, "") for layer in (*NEURONS, "output")),
    ("task", "", ""),
    ("task", "unwatched run", ""),
]
VARYING = (
    (r"(ONNX Runtime|TorchScript|torch) [\d.]+(\+\w+)?", r"\1 V"),
    (r"\d+\.\d+ MB", "# MB"),
    (r"\d+\.\d+ ms", "# ms"),
    (r"\d+\.\d\dx", "#x"),
    (r"\d+\.\d s\b", "# s"),
    (r"\d+\.\d%", "#%"),
    (r"(logit error|logits to) [\d.e+-]+", r"\1 #"),
    (r"nearest [\d.e+-]+ units", "nearest # units"),
    (r" {2,}", "  "),
    (r"^ *─+ *$", ""),
    (r"^ +| +$", ""),
    (r"\n{2,}", "\n"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the checkpoint and data in it."""
    monkeypatch.chdir(tmp_path)
    place(tmp_path, "net.pth")
    x = np.random.default_rng(0).random((3, 2, 8, 8), np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(3))
    return tmp_path


def normal(text: str) -> str:
    """Text without what varies from run to run, without rules, runs of spaces and empty lines."""
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip() + "\n"


# What the commands print.

SITES = """\
norm at  kind  into  outcome  detail
bn1  BatchNorm2d  conv1  rounding  into weight [6, 2, 3, 3] and bias, in float64
bn2  BatchNorm2d  conv2  rounding  into weight [6, 6, 3, 3] and bias, in float64
sum_norm  BatchNorm2d  act3  rounding  gain and offset of the neuron's current
act1  MPBN  threshold  exact  6 channels, thresholds -4.8 to 7.319, 1 inverted, 1 never firing
act2  MPBN  threshold  exact  6 channels, thresholds -31.9 to 2.082, 1 inverted, 1 never firing
act3  MPBN  threshold  exact  6 channels, thresholds -0.01967 to 0.8031, 1 always firing
"""
STATISTICS = """\
norm at  values  gamma  < 0  = 0  mean  variance  var ~ 0
bn1  6  -0.3592 to 1.073  1  1  -0.1826 to 0.2722  0.341 to 1.717  0
bn2  6  -0.3263 to 1.515  1  1  -0.09275 to 0.1857  0.3458 to 1.855  0
sum_norm  6  -0.3036 to 1.534  2  1  -0.2782 to 0.292  0.2836 to 1.442  0
act1  6  -0.1663 to 1.281  1  1  -0.1954 to 0.2148  1.035 to 1.954  0
act2  6  -0.1244 to 1.519  1  1  -0.1118 to 0.1855  0.6603 to 1.622  0
act3  6  0 to 1.47  0  1  -0.2531 to 0.2841  0.3989 to 1.572  0
"""
INSPECT = f"""\
net.pth: tests.networks:per_channel, 1,037 parameters
a time step  30,432 multiply-accumulates, 4,608 bytes of state
reference  the user's code, tests.networks:per_channel
arch  tests.networks:per_channel (option)
timesteps  4 (factory)
input  static (default)
input-shape  2,8,8 (factory)
readout  mean (default)
leak  0.25 (layers)
threshold  0.5 (layers)
strict  True (layers)
neuron  potential  semantics
act1  6x8x8  leak 0.25, fires on MPBN(u) > 0.5 per channel, hard reset to 0
act2  6x8x8  leak 0.25, fires on MPBN(u) > 0.5 per channel, hard reset to 0
act3  6x8x8  leak 0.25, fires on MPBN(u) > 0.5 per channel, hard reset to 0
{STATISTICS}{SITES}every norm folds
converts to pt2, onnx, torchscript
"""
SETTINGS = (
    "settings  T = 4 (factory), input static (default), input shape 2,8,8 (factory), read-out mean (default), "
    "leak 0.25 (layers), threshold 0.5 (layers), fires on > (layers)\n"
)
ORIGIN = f"reference  the user's code, tests.networks:per_channel\n{SETTINGS}"
FOLD = f"{SITES}{ORIGIN}f.pt2: 6 norms folded: 3 exact, 3 rounding\n"
LEVELS = """\
layer  values  explained  unexplained  outside  worst/bound  rate before  rate after
act1  4,608  0  0  0  #%  0.191  0.191
act2  4,608  0  0  0  #%  0.355  0.355
act3  4,608  0  0  0  #%  0.667  0.667
output  15  0  0  0  #%
probes  extreme: 5 inputs, nearest # units in the last place from a threshold
probes  threshold: 4 inputs, nearest # units in the last place from a threshold
ok  contract  T = 4, one image shown, read-out mean
ok  proof  9 of 9 checks passed
ok  algebra  float64, 2 samples: same spikes, potentials and logits to #
ok  deployment  15 of 15 checks passed
ok  task  argmax agrees on 100.00% of 3 samples, logit error #, accuracy 33.33% before and 33.33% after
verdict: EQUIVALENT (# s)
"""
VERIFY = f"""\
EQUIVALENT  folded.pt2  against  net.pth
{ORIGIN}runtime  torch V
data  3 samples of data.npz
{LEVELS.replace("9 of 9", "11 of 11")}EQUIVALENT  net.onnx  against  net.pth
{ORIGIN}runtime  ONNX Runtime V
data  3 samples of data.npz
{LEVELS}"""
EXPORT = f"""\
EQUIVALENT  n.ts  against  folded.pt2
reference  the program captured from the user's code, tests.networks:per_channel
{SETTINGS}runtime  TorchScript V
data  3 samples of data.npz
note  the source is the program that folded.pt2 was folded from
{LEVELS}"""
CONVERT = f"""\
EQUIVALENT  net.pth (tests.networks:per_channel)
folded  6 norms folded: 3 exact, 3 rounding
{ORIGIN}verified  n.onnx: EQUIVALENT in ONNX Runtime V, on 3 samples of data.npz
flips  0 unexplained, 0 explained by rounding, of 13,839 values
task  argmax agrees on 100.00% of 3 samples, logit error #, accuracy 33.33% before and 33.33% after
verified  n.ts: EQUIVALENT in TorchScript V, on 3 samples of data.npz
flips  0 unexplained, 0 explained by rounding, of 13,839 values
task  argmax agrees on 100.00% of 3 samples, logit error #, accuracy 33.33% before and 33.33% after
batch 1  size  latency  speed-up
source, eager torch  # MB  # ms  #x
n.onnx, ONNX Runtime V  # MB  # ms  #x
n.ts, TorchScript V  # MB  # ms  #x
"""


def test_inspect_prints_what_is_inside(here: Path) -> None:
    result = run("inspect", "net.pth", *ARCH)
    assert (normal(result.out), result.err, result.code) == (INSPECT, "", 0)


def test_fold_prints_what_became_of_every_norm(here: Path) -> None:
    result = run("fold", "net.pth", *ARCH, "-o", "f.pt2")
    assert (normal(result.out), result.err, result.code) == (FOLD, "", 0)


def test_verify_prints_every_candidate_layer_by_layer(here: Path) -> None:
    candidates = [place(here, name).name for name in ("folded.pt2", "net.onnx")]
    result = run("verify", "net.pth", *candidates, *ARCH, "--data", "data.npz")
    assert (normal(result.out), result.err, result.code) == (VERIFY, "", 0)


def test_export_prints_its_verification(here: Path) -> None:
    result = run("export", place(here, "folded.pt2").name, "-o", "n.ts", "--data", "data.npz")
    assert (normal(result.out), result.err, result.code) == (EXPORT, "", 0)
    assert torch.jit.load("n.ts")(torch.zeros(2, 2, 8, 8)).shape == (2, 5)


def test_convert_prints_a_summary_and_writes_every_artifact(here: Path) -> None:
    result = run("convert", "net.pth", *ARCH, "-o", "n.onnx", "-o", "n.ts", "--data", "data.npz")
    assert (normal(result.out), result.err, result.code) == (CONVERT, "", 0)
    assert sorted(path.name for path in here.iterdir()) == ["data.npz", "n.onnx", "n.ts", "net.pth"]


@pytest.mark.long
def test_in_a_process_of_its_own_stderr_has_the_word_on_noise_and_nothing_else(tmp_path: Path) -> None:
    result = run_process("convert", place(tmp_path, "net.pth"), *ARCH, "-o", tmp_path / "n.onnx")
    assert result.err == "warning: no --data given; verifying on synthetic noise, which says little about the real task\n"
    assert result.out.startswith("EQUIVALENT  net.pth (tests.networks:per_channel)\n"), "a path of the machine"
    assert (tmp_path / "n.onnx").read_bytes() == made("net.onnx"), "the same input gives other bytes"
    assert result.code == 0


# What was assumed, and what follows from the data.


def untold() -> torch.nn.Module:
    """A network whose file says nothing of T."""
    net: Any = per_channel()
    net.timesteps = None
    return net


UNTOLD = ("--arch", f"{__name__}:untold")
ASSUMED = "note: assumed T = 4, input static, read-out mean (in no file)"


@pytest.mark.parametrize("command", [("inspect",), ("fold", "-o", "f.pt2"), ("convert", "-o", "n.ts"), ("verify",)])
def test_a_t_that_is_in_no_file_is_said_on_stderr(command: tuple[str, ...], here: Path) -> None:
    candidates = [place(here, "net.ts").name] if command[0] == "verify" else []
    result = run(command[0], "net.pth", *candidates, *command[1:], *UNTOLD)
    assert result.err.splitlines()[0] == f"{ASSUMED}; override with --timesteps, --input, --readout"
    assert (result.code, "4 (default)" in result.out) == (0, True)


def test_a_program_says_what_was_assumed_when_it_was_folded(here: Path) -> None:
    run("fold", "net.pth", *UNTOLD, "-o", "f.pt2")
    result = run("export", "f.pt2", "-o", "n.ts", "--data", "data.npz")
    assert result.err == f"{ASSUMED}; to override, fold again with --timesteps, --input, --readout\n"
    assert "T = 4 (default)" in result.out


def test_frames_in_the_data_settle_the_kind_of_input_and_t(here: Path) -> None:
    np.savez("frames.npz", x=np.zeros((2, 3, 2, 8, 8), np.float32))
    found = document("convert", "net.pth", *UNTOLD, "-o", "n.ts", "--data", "frames.npz")
    (result,) = found["results"]
    assert (result["settings"]["input"], result["settings"]["timesteps"]) == ("event (data)", "3 (data)")
    assert result["verdict"]["checks"][0]["detail"] == "T = 3, frames, read-out mean"
    refused = run("verify", "net.pth", "n.ts", *UNTOLD, "--data", "frames.npz", "--input", "static")
    assert (refused.code, refused.error) == (
        2,
        "error: input is static (option), but one sample of the data is [3, 2, 8, 8]: frames over time; "
        "pass --input event to take the data as they are, or give data that fit",
    )


def test_inspect_shows_an_architecture_of_the_settings_file_though_a_layer_is_unknown(here: Path) -> None:
    torch.save(untaught().state_dict(), "odd.pth")
    Path("pyproject.toml").write_text('[tool.snnconv]\narch = "tests.test_inspection:untaught"\n')
    result = run("inspect", "odd.pth")
    assert result.code == 3
    assert result.out.startswith("odd.pth: tests.test_inspection:untaught, ")
    assert "arch         tests.test_inspection:untaught (pyproject.toml)" in result.out


def test_force_replaces_an_output(here: Path) -> None:
    Path("f.pt2").write_text("old")
    assert run("fold", "net.pth", *ARCH, "-o", "f.pt2", "--force").code == 0
    assert zipfile.is_zipfile("f.pt2")


@pytest.mark.parametrize("name", ["net.onnx", "folded.pt2"])
def test_the_same_input_gives_the_same_bytes(name: str, here: Path) -> None:
    command = "fold" if name == "folded.pt2" else "convert"
    data = () if command == "fold" else ("--data", "data.npz")
    assert run(command, "net.pth", *ARCH, "-o", name, *data).code == 0
    assert Path(name).read_bytes() == made(name)


@pytest.mark.parametrize("name", ["folded.pt2", "net.onnx", "net.ts"])
def test_no_path_of_the_machine_is_inside(name: str) -> None:
    content = unpacked(made(name))
    for path in (str(ROOT), "site-packages", tempfile.gettempdir() + "/", str(Path.home())):
        assert path.encode() not in content


def unpacked(content: bytes) -> bytes:
    """The members of an archive, and of archives in it, as one."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return b"".join(unpacked(archive.read(name)) for name in archive.namelist())


# Documents and reports.


def document(*args: object) -> dict[str, Any]:
    """The one JSON document that a command prints, read strictly."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(run(*args, "--json").out, parse_constant=refuse)


def checks_of(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(check["level"], check["layer"], check["probe"]) for check in result["verdict"]["checks"]]


def test_inspect_answers_in_json(here: Path) -> None:
    found = document("inspect", "net.pth", *ARCH)
    assert (found["schema"], found["command"], found["foldable"], found["parameters"]) == (4, "inspect", True, 1037)
    assert found["settings"]["input_shape"] == "2,8,8 (factory)"
    assert [neuron["name"] for neuron in found["neurons"]] == ["act1", "act2", "act3"]
    assert {site["outcome"] for site in found["sites"]} == {"exact", "rounding"}
    assert re.fullmatch("[0-9a-f]{64}", found["sha256"])


def test_every_document_says_which_snnconv_wrote_it(here: Path) -> None:
    assert "snnconv" in document("inspect", "net.pth", *ARCH)


def test_fold_answers_in_json(here: Path) -> None:
    found = document("fold", "net.pth", *ARCH, "-o", "f.pt2")
    assert (found["command"], found["source"], found["output"]) == ("fold", "net.pth", "f.pt2")
    assert [site["path"] for site in found["sites"]] == ["bn1", "bn2", "sum_norm", "act1", "act2", "act3"]
    assert set(found["sites"][0]) == {"path", "kind", "into", "outcome", "detail", "statistics"}


def test_convert_answers_in_json(here: Path) -> None:
    found = document("convert", "net.pth", *ARCH, "-o", "n.ts", "--data", "data.npz")
    assert (found["command"], found["equivalent"], found["arch"]) == ("convert", True, ARCH[1])
    assert [site["outcome"] for site in found["sites"]] == ["rounding"] * 3 + ["exact"] * 3
    assert [set(measure) for measure in found["measures"]] == [{"name", "size", "latency", "batch"}] * 2
    (verified,) = found["results"]
    assert (verified["verdict"]["word"], verified["source"], verified["candidate"]) == ("EQUIVALENT", "net.pth", "n.ts")
    assert verified["candidate_sha256"] == hashlib.sha256(Path("n.ts").read_bytes()).hexdigest()
    assert checks_of(verified) == CHECKS


def test_verify_answers_in_json_and_in_reports(here: Path) -> None:
    place(here, "folded.pt2")
    reports = ("--report", "r.json", "--report", "r.xml")
    found = document("verify", "net.pth", "folded.pt2", *ARCH, "--data", "data.npz", *reports)
    assert (found["command"], found["equivalent"]) == ("verify", True)
    (result,) = found["results"]
    assert result["task"] | {"logit_error": 0} == {
        **{"samples": 3, "agreeing": 3, "logit_error": 0, "labelled": 3, "right_reference": 1, "right_candidate": 1},
        **{"bare": 3, "bare_agreeing": 3, "bare_unlike": 0, "explained": 0, "bare_explained": 0},
    }
    stored = [("proof", part, "") for part in ("graph", "sites", "stored proofs", "embedded source")]
    with_stored = [*CHECKS[:8], *stored, *CHECKS[8:]]
    assert checks_of(result) == with_stored
    assert [layer["name"] for layer in result["layers"]] == ["act1", "act2", "act3", "output"]
    assert (result["shard"], result["data"]["samples"], result["data"]["origin"]) == (None, 3, "data.npz")
    assert json.loads(Path("r.json").read_text()) == found
    (suite,) = JUnitXml.fromfile("r.xml")
    assert suite.name == "folded.pt2"
    assert [(case.classname, case.name) for case in suite] == [
        (f"folded.pt2.{level}{probe and f'.{probe} probes'}", layer or "whole network") for level, layer, probe in with_stored
    ]
    assert all(case.is_passed for case in suite)


# Damaged artifacts.

Change = Callable[[onnx.ModelProto], None]


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def values(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Change the values of one initializer."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = initializer(model, name)
        changed = change(onnx.numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(onnx.numpy_helper.from_array(changed, name))

    return edit


def next_float(index: int) -> Callable[[np.ndarray], np.ndarray]:
    """Move one value to the neighbouring float."""

    def change(array: np.ndarray) -> np.ndarray:
        array.flat[index] = np.nextafter(array.flat[index], np.float32(math.inf))
        return array

    return change


def card(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the metadata."""

    def edit(model: onnx.ModelProto) -> None:
        metadata = json.loads(model.metadata_props[0].value)
        change(metadata)
        model.metadata_props[0].value = json.dumps(metadata)

    return edit


def removed(model: onnx.ModelProto) -> None:
    model.graph.initializer.remove(initializer(model, "conv2.weight"))


def doubled(model: onnx.ModelProto) -> None:
    """Two copies of the output, side by side."""
    last = next(node for node in model.graph.node if "y" in node.output)
    last.output[list(last.output).index("y")] = "half"
    model.graph.node.append(onnx.helper.make_node("Concat", ["half", "half"], ["y"], axis=1))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10


DAMAGES: dict[str, tuple[Change, str]] = {
    "threshold by one bit": (values("act1.threshold", next_float(1)), "act1: 1 of 6 in threshold differ"),
    "leak by one bit": (values("act2.leak", next_float(0)), "act2: 1 of 1 in leak differ"),
    "weight by one bit": (values("conv2.weight", next_float(7)), "conv2: 1 of 324 in weight differ"),
    "weight not a number": (values("head.weight", lambda a: a * np.float32(math.nan)), "head: 480 of 480 in weight differ"),
    "bias of another shape": (values("head.bias", lambda a: np.append(a, a)), "head: bias is torch.float32 [10], not"),
    "weight in double": (values("conv1.weight", lambda a: a.astype(np.float64)), "conv1: weight is torch.float64"),
    "no weight": (removed, "conv2: weight is missing"),
    "output twice": (doubled, "output"),
    "other time steps": (card(lambda m: m["contract"].update(timesteps=5)), "timesteps is 5 in the artifact, 4 in the source"),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_artifact_is_not_equivalent(kind: str, here: Path) -> None:
    change, words = DAMAGES[kind]
    model = onnx.load_from_string(made("net.onnx"))
    change(model)
    onnx.save(model, "n.onnx")
    result = run("verify", place(here, "raw.pt2").name, "n.onnx", "--data", "data.npz", "--report", "r.xml")
    assert result.err == ""
    assert result.out.startswith("NOT EQUIVALENT  n.onnx  against  raw.pt2\n")
    assert "FAIL" in result.out
    assert words in " ".join(result.out.split())
    assert result.code == 1
    assert not all(case.is_passed for suite in JUnitXml.fromfile("r.xml") for case in suite)


def test_a_damaged_program_is_not_equivalent(here: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(made("folded.pt2"))) as old, zipfile.ZipFile("n.pt2", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "tensors.safetensors":
                held = safetensors.torch.load(content)
                held["neuron.act3.threshold"].view(-1)[2] += 1e-6
                content = safetensors.torch.save(held)
            new.writestr(name, content)
    result = run("verify", "net.pth", "n.pt2", *ARCH, "--data", "data.npz")
    assert "act3: 1 of 6 in threshold differ" in result.out
    assert result.code == 1


def rescripted(module: torch.nn.Module) -> None:
    """Save a module as n.ts, with the metadata of the small network's artifact."""
    extra = {"snnconv.json": ""}
    torch.jit.load(io.BytesIO(made("net.ts")), _extra_files=extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module), "n.ts", extra)


def test_a_damaged_torchscript_is_not_equivalent(here: Path) -> None:
    module = torch.jit.load(io.BytesIO(made("net.ts")))
    with torch.no_grad():
        module.state_dict()["body.conv2.bias"][3] += 1e-6
    rescripted(module)
    result = run("verify", "net.pth", "n.ts", *ARCH, "--data", "data.npz")
    assert "conv2: 1 of 6 in bias differ" in result.out
    assert result.code == 1


def test_another_network_under_our_metadata_is_not_run_unless_that_is_asked_for(here: Path) -> None:
    rescripted(torch.nn.Flatten())
    verify = ("verify", "net.pth", "n.ts", *ARCH, "--data", "data.npz")
    refused = run(*verify)
    assert (refused.out, refused.code) == ("", 3)
    assert "n.ts: its code is not what snnconv" in refused.err
    assert "--run-foreign-code" in refused.err
    result = run(*verify, "--run-foreign-code")
    assert "threshold is missing" in result.out
    assert result.code == 1


def test_a_document_stays_json_where_a_network_gives_no_numbers(here: Path) -> None:
    model = onnx.load_from_string(made("net.onnx"))
    values("head.weight", lambda a: a * np.float32(math.nan))(model)
    onnx.save(model, "n.onnx")
    assert not document("verify", "net.pth", "n.onnx", *ARCH, "--data", "data.npz")["equivalent"]


def test_other_settings_are_another_network(here: Path) -> None:
    place(here, "folded.pt2")
    result = run("verify", "net.pth", "folded.pt2", *ARCH, "--timesteps", "3", "--readout", "sum")
    assert "FAIL contract    timesteps is 4 in the artifact, 3 in the source; read-out is mean in the artifact, sum" in result.out
    assert result.code == 1


def test_another_checkpoint_is_another_network(here: Path) -> None:
    state = torch.load("net.pth", weights_only=True)
    state["act1.norm.bias"][1] += 0.1
    torch.save(state, "net.pth")
    place(here, "folded.pt2")
    result = run("verify", "net.pth", "folded.pt2", *ARCH, "--data", "data.npz")
    assert "note       the artifact names another checkpoint file as its source" in result.out
    assert "act1: 1 of 6 in threshold differ" in result.out
    assert result.code == 1


def test_one_candidate_that_fails_is_enough(here: Path) -> None:
    place(here, "folded.pt2")
    Path("n.onnx").write_bytes(made("net.onnx"))
    values("act1.threshold", next_float(1))(model := onnx.load("n.onnx"))
    onnx.save(model, "n.onnx")
    found = document("verify", "net.pth", "folded.pt2", "n.onnx", *ARCH, "--data", "data.npz")
    assert [result["verdict"]["equivalent"] for result in found["results"]] == [True, False]
    assert not found["equivalent"]


@pytest.mark.parametrize("command", ["convert", "export"])
def test_what_is_not_equivalent_is_not_left_behind(command: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> bytes:
        model = onnx.load_from_string(made("net.onnx"))
        values("act1.threshold", next_float(1))(model)
        return model.SerializeToString()

    monkeypatch.setattr("snnconv.convert.encode", damaged)
    source = ["net.pth", *ARCH] if command == "convert" else [place(here, "folded.pt2").name]
    before = sorted(path.name for path in here.iterdir())
    result = run(command, *source, "-o", "n.onnx", "--data", "data.npz")
    assert result.code == 1
    assert result.out.startswith("NOT EQUIVALENT")
    assert "1 of 6 in threshold differ" in result.out
    assert sorted(path.name for path in here.iterdir()) == before


def test_an_older_artifact_stays_where_the_new_one_fails(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnconv.results.verdict.Verdict.equivalent", property(lambda self: False))
    Path("n.ts").write_text("older")
    assert run("convert", "net.pth", *ARCH, "-o", "n.ts", "--data", "data.npz", "--force").code == 1
    assert Path("n.ts").read_text() == "older"


# Forms, inputs, options.


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_the_step_form_converts(suffix: str, here: Path) -> None:
    result = run("convert", "net.pth", *ARCH, "-o", f"n.{suffix}", "--time", "step", "--data", "data.npz")
    assert (result.code, result.err) == (0, "")


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_event_input_converts(suffix: str, here: Path) -> None:
    np.savez("events.npz", x=np.random.default_rng(0).random((3, 2, 2, 8, 8), np.float32).round())
    event = ("--input", "event", "--timesteps", "2", "--readout", "sum", "--data", "events.npz")
    result = run("convert", "net.pth", *ARCH, "-o", f"n.{suffix}", *event)
    assert (result.code, result.err) == (0, "")
    assert "on 3 samples of events.npz" in result.out


def test_a_fixed_batch_converts_and_the_last_samples_fill_it(here: Path) -> None:
    result = run("convert", "net.pth", *ARCH, "-o", "n.onnx", "--batch", "2", "--data", "data.npz")
    assert result.code == 0
    assert re.search(r"^ batch 2 +size +latency +speed-up *$", result.out, re.M)
    (x,) = onnx.load("n.onnx").graph.input
    assert [dim.dim_value for dim in x.type.tensor_type.shape.dim] == [2, 2, 8, 8]


def test_a_format_may_be_named_where_the_suffix_is_silent(here: Path) -> None:
    args = (place(here, "folded.pt2").name, "-o", "model.bin", "--format", "torchscript", "--data", "data.npz")
    assert run("export", *args).code == 0
    assert torch.jit.load("model.bin")(torch.zeros(1, 2, 8, 8)).shape == (1, 5)


@pytest.mark.sample(1)
@pytest.mark.parametrize("order", [("--config", "snn.toml", "--timesteps", "3"), ("--timesteps", "3", "--config", "snn.toml")])
def test_an_option_overrides_the_configuration_wherever_it_stands(order: tuple[str, ...], here: Path) -> None:
    Path("snn.toml").write_text(f'arch = "{ARCH[1]}"\ntimesteps = 6\nreadout = "last"\n')
    out = normal(run("inspect", "net.pth", *order).out)
    assert "timesteps  3 (option)\n" in out
    assert "readout  last (snn.toml)\n" in out
    assert f"arch  {ARCH[1]} (snn.toml)\n" in out


def test_settings_stand_in_pyproject_too(here: Path) -> None:
    Path("pyproject.toml").write_text(f'[tool.snnconv]\narch = "{ARCH[1]}"\n')
    assert f"arch  {ARCH[1]} (pyproject.toml)\n" in normal(run("inspect", "net.pth").out)


def test_a_safetensors_checkpoint_gives_the_same_artifact(here: Path) -> None:
    assert run("fold", place(here, "net.safetensors").name, *ARCH, "-o", "f.pt2").code == 0
    result = run("verify", "net.pth", "f.pt2", *ARCH, "--data", "data.npz")
    assert result.code == 0
    assert "note       the artifact names another checkpoint file as its source" in result.out


def test_options_say_what_of_a_checkpoint_is_taken(here: Path) -> None:
    state = per_channel().state_dict()
    more = {f"net.{key}".replace("net.head.", "last."): value for key, value in state.items()}
    torch.save({"model": state, "best": {"ema": {**more, "old.weight": torch.ones(2), "older": torch.ones(2)}}}, "sets.pth")
    options = ("--weights", "best/ema", "--ignore", "old.*", "--ignore", "older", "--rename", "last=net.head")
    result = run("convert", "sets.pth", *ARCH, *options, "-o", "n.ts", "--data", "data.npz")
    assert result.code == 0
    for note in ("state-dict found under 'ema' in 'best'", "ignored as asked: 'old.weight', 'older'", "prefix 'net.' dropped"):
        assert note in " ".join(result.out.split())
    assert run("verify", "sets.pth", "n.ts", *ARCH, "--data", "data.npz").code == 0  # the other set holds the same weights


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BrokenPipeError(errno.EPIPE, "Broken pipe"), id="pipe"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), id="disk"),
    ],
)
def test_a_stdout_that_cannot_be_written_is_no_verdict(error: OSError, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(document: object) -> None:
        raise error

    monkeypatch.setattr("snnconv.cli.render.print_json", full)
    assert run("inspect", "net.pth", *ARCH, "--json").code not in (1, 70)
