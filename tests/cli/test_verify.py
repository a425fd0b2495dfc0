"""`verify` and `report` as they are used: kinds of data, levels, shards, killed runs, results judged again."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
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

import tests.networks  # noqa: F401  (imported here, it is found from any folder)
from tests.cli.run import ARCH, ROOT, Result, made, place, run

COMMAND = [sys.executable, "-P", "-c", "from snnconv.cli.main import main; main()"]
SAMPLES, CHUNK = 450, 80
"""The small network is judged in chunks of 80 samples: six of them."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a program, artifacts and data in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("raw.pt2", "folded.pt2", "net.onnx", "net.ts"):
        place(tmp_path, name)
    random = np.random.default_rng(0)
    x = random.random((SAMPLES, 2, 8, 8), np.float32)
    np.savez(tmp_path / "many.npz", x=x, y=random.integers(0, 5, SAMPLES))
    np.savez(tmp_path / "few.npz", x=x[:3], y=np.arange(3))
    return tmp_path


def timeless(path: str) -> str:
    """A report without the time it took."""
    return re.sub(r'"seconds": [\d.e+-]+', '"seconds": 0', Path(path).read_text())


def results(path: str) -> list[dict[str, Any]]:
    return json.loads(Path(path).read_text())["results"]


# Kinds of data.


def folder_of_npz() -> None:
    Path("parts").mkdir()
    with np.load("few.npz") as data:
        for k in range(3):
            np.savez(f"parts/{k}.npz", x=data["x"][k : k + 1], y=data["y"][k : k + 1])


def npy() -> None:
    with np.load("few.npz") as data:
        np.save("x.npy", data["x"])
        np.save("y.npy", data["y"])


MODULE = """
import numpy as np
from torch.utils.data import DataLoader, TensorDataset
import torch

def arrays():
    with np.load("few.npz") as data:
        return torch.from_numpy(data["x"]), torch.from_numpy(data["y"])

def dataset():
    return TensorDataset(*arrays())

def loader():
    return DataLoader(dataset(), batch_size=2)

def generator():
    yield from zip(*arrays())
"""


def module() -> None:
    Path("mydata.py").write_text(MODULE)
    sys.modules.pop("mydata", None)


PLACES: dict[str, tuple[Callable[[], None], tuple[str, ...], str]] = {
    "npz": (lambda: None, ("--data", "few.npz"), "few.npz"),
    "folder": (folder_of_npz, ("--data", "parts"), "parts"),
    "npy": (npy, ("--data", "x.npy", "--labels", "y.npy"), "x.npy"),
    "dataset": (module, ("--data", "mydata:dataset"), "mydata:dataset"),
    "loader": (module, ("--data", "mydata:loader"), "mydata:loader"),
    "generator": (module, ("--data", "mydata:generator"), "mydata:generator"),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PLACES)
def test_every_kind_of_data_gives_the_same_findings(kind: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options, origin = PLACES[kind]
    monkeypatch.syspath_prepend(here)
    make()
    for path, args in (("a.json", ("--data", "few.npz")), ("b.json", options)):
        result = run("verify", "raw.pt2", "net.onnx", *args, "--report", path)
        assert (result.code, result.err) == (0, "")
    assert f"data       3 samples of {origin}\n" in result.out
    assert timeless("a.json").replace('"origin": "few.npz"', "") == timeless("b.json").replace(f'"origin": "{origin}"', "")
    assert results("b.json")[0]["task"]["labelled"] == 3


def test_without_labels_accuracy_is_not_spoken_of(here: Path) -> None:
    npy()
    result = run("verify", "raw.pt2", "net.onnx", "--data", "x.npy")
    assert result.code == 0
    assert "accuracy" not in result.out


# Levels and policy.

LEVELS = {"proof": ["contract", "proof"], "algebra,proof": ["contract", "proof", "algebra"], "task": ["contract", "task"]}


@pytest.mark.parametrize("level", LEVELS)
def test_what_was_not_checked_is_said_first_and_last(level: str, here: Path) -> None:
    result = run("verify", "raw.pt2", "net.ts", "--data", "few.npz", "--level", level)
    names = ("proof", "algebra", "deployment", "task")
    ran, left = ([name for name in names if (name in level) == wanted] for wanted in (True, False))
    word = f"NO FAULT FOUND in {', '.join(ran)} ({', '.join(left)} not checked)"
    lines = result.out.splitlines()
    assert lines[0] == f"{word}  net.ts  against  raw.pt2"
    assert lines[-1].startswith(f"verdict: {word} (")
    assert [line.split()[1] for line in lines if line.startswith("ok ")] == LEVELS[level]
    assert (result.code, result.err) == (0, "")


@pytest.mark.sample(2)
@pytest.mark.parametrize(("policy", "code"), [("logit-error=0", 1), ("logit-error=1e-3", 0), ("explained-flips=0", 0)])
def test_the_policy_decides_between_0_and_1(policy: str, code: int, here: Path) -> None:
    assert run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--policy", policy).code == code


def test_the_policy_stands_in_pyproject_and_options_go_over_it(here: Path) -> None:
    Path("pyproject.toml").write_text("[tool.snnconv.verify]\nlogit-error = 0\n")
    command = ("verify", "raw.pt2", "net.onnx", "--data", "few.npz")
    assert run(*command).code == 1
    assert run(*command, "--policy", "logit-error=1").code == 0
    Path("other.toml").write_text("[verify]\nlogit-error = 1\n")
    assert run(*command, "--config", "other.toml").code == 0


@pytest.mark.long
def test_seeds_make_other_probes(here: Path) -> None:
    for seed in (0, 0, 1):
        assert run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--seed", seed, "--report", f"{seed}.json").code == 0
    nearest = [[probe["nearest"] for probe in results(f"{seed}.json")[0]["probes"]] for seed in (0, 1)]
    assert nearest[0] != nearest[1]


# Wrong conversions, one per format.


def wrong_onnx() -> None:
    model = onnx.load_from_string(made("net.onnx"))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "conv2.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[4] *= np.float32(1.01)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, "wrong.onnx")


def wrong_ts() -> None:
    extra = {"snnconv.json": ""}
    module = torch.jit.load(io.BytesIO(made("net.ts")), _extra_files=extra)
    with torch.no_grad():
        module.state_dict()["body.conv2.weight"][4] *= 1.01
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, "wrong.ts", extra)


def wrong_pt2() -> None:
    with zipfile.ZipFile(io.BytesIO(made("folded.pt2"))) as old, zipfile.ZipFile("wrong.pt2", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "tensors.safetensors":
                held = safetensors.torch.load(content)
                (weight,) = (key for key in held if key.endswith("conv2.weight") and held[key].dim() == 4 and "source" not in key)
                held[weight][4] *= 1.01
                content = safetensors.torch.save(held)
            new.writestr(name, content)


WRONG = {"wrong.onnx": wrong_onnx, "wrong.ts": wrong_ts, "wrong.pt2": wrong_pt2}


@pytest.mark.long
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_conversion_exits_1_and_names_the_layer(name: str, here: Path) -> None:
    WRONG[name]()
    done = subprocess.run(
        [*COMMAND, "verify", "raw.pt2", name, "--data", "many.npz", "--report", "r.json", "--report", "r.md"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(f"NOT EQUIVALENT  {name}  against  raw.pt2\n")
    assert re.search(r"^     conv2: \d+ of 324 in weight differ, first at \[4, 0, 0, 0\]: ", done.stdout, re.MULTILINE)
    assert re.search(
        r"^     act2: [\d,]+ values outside their rounding bound, .*first at sample 0, step 0", done.stdout, re.MULTILINE
    )
    assert not re.search(r"^     (act1|act3|conv1|conv3|head): ", done.stdout, re.MULTILINE), "a layer that is sound is blamed"
    (result,) = results("r.json")
    faults = {(check["level"], check["layer"]) for check in result["verdict"]["checks"] if not check["passed"]}
    assert faults <= {
        ("proof", "conv2"),
        ("deployment", "act2"),
        ("deployment", "output"),
        ("task", ""),
        ("task", "unwatched run"),
    }
    assert "NOT EQUIVALENT" in Path("r.md").read_text()


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(("level", "layer"), [("proof", "conv2"), ("deployment", "act2")])
def test_either_level_finds_it_alone(name: str, level: str, layer: str, here: Path) -> None:
    WRONG[name]()
    result = run("verify", "raw.pt2", name, "--data", "few.npz", "--level", level)
    assert result.code == 1
    assert f"{layer}: " in result.out


def test_a_verdict_may_be_asked_for_as_annotations(here: Path) -> None:
    wrong_ts()
    result = run("verify", "raw.pt2", "wrong.ts", "net.ts", "--data", "few.npz", "--format", "github")
    assert (result.code, result.err) == (1, "")
    lines = result.out.splitlines()
    assert lines[0].startswith(
        "::notice title=snnconv%3A wrong.ts::NOT EQUIVALENT: wrong.ts against raw.pt2 (the program captured from "
    )
    assert lines[1].startswith("::error title=wrong.ts%3A proof conv2::54 of 324 in weight differ, first at [4, 0, 0, 0]: ")
    against = "raw.pt2 (the program captured from the user's code, tests.networks:per_channel)"
    assert lines[-1] == f"::notice title=snnconv%3A net.ts::EQUIVALENT: net.ts against {against}"
    assert all(line.startswith("::") for line in lines)


def test_reports_are_written_in_every_format(here: Path) -> None:
    files = ["r.json", "r.xml", "r.md", "r.html"]
    options = [option for file in files for option in ("--report", file)]
    assert run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", *options).code == 0
    html, markdown = Path("r.html").read_text(), Path("r.md").read_text()
    assert html.lower().startswith("<!doctype html>")
    for text in (html, markdown):
        assert "EQUIVALENT" in text
        assert "net.onnx" in text
        assert str(here) not in text
    assert "<svg" in html
    assert not re.search(r"""(src|href)=["']?(http|//)""", html), "it needs the network"


# Shards.


@pytest.mark.sample(1)
@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_shards_merged_are_the_whole_run_byte_for_byte_but_for_the_time(n: int, here: Path) -> None:
    wrong_onnx()
    command = ("verify", "raw.pt2", "net.ts", "wrong.onnx", "--data", "many.npz")
    assert run(*command, "--report", "whole.json").code == 1
    for i in range(1, n + 1):
        assert run(*command, "--shard", f"{i}/{n}", "--report", f"{i}.json").code == 1 - (i > 6), "six chunks, so six shards"
        assert results(f"{i}.json")[0]["data"]["samples"] == sum(
            min(CHUNK, SAMPLES - k * CHUNK) for k in range(6) if k % n == i - 1
        )
    merged = run("report", "merge", *(f"{i}.json" for i in range(n, 0, -1)), "--report", "merged.json")
    assert (merged.code, merged.err) == (1, "")
    assert timeless("merged.json") == timeless("whole.json")
    assert run("report", "merged.json").out == merged.out


def test_shards_of_a_generator_make_the_same_chunks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    Path("mydata.py").write_text(MODULE.replace("few.npz", "many.npz"))
    sys.modules.pop("mydata", None)
    command = ("verify", "raw.pt2", "net.onnx", "--data", "mydata:loader")
    assert run(*command, "--report", "whole.json").code == 0
    for i in (1, 2):
        assert run(*command, "--shard", f"{i}/2", "--report", f"{i}.json").code == 0
    assert run("report", "merge", "1.json", "2.json", "--report", "merged.json").code == 0
    assert timeless("merged.json") == timeless("whole.json")


def test_a_shard_is_never_called_equivalent(here: Path) -> None:
    for shard in ("1/2", "2/2"):
        result = run("verify", "raw.pt2", "net.onnx", "--data", "many.npz", "--shard", shard)
        assert result.out.startswith(f"NO FAULT FOUND in shard {shard}  net.onnx  against  raw.pt2\n")
        assert result.code == 0


MERGES = (
    (["1.json"], r"net\.onnx: shards? 2/2 (is|are) missing; name the results of all 2 shards$"),
    (["1.json", "2.json", "1.json"], r"net\.onnx: shard 1/2 is there twice; name each result once$"),
    (["1.json", "2.json", "whole.json"], r"net\.onnx: one of the results is of a whole run; "),
    (["1.json", "other.json"], r"net\.onnx: the shards differ in their data: few\.npz and many\.npz; merge one run only$"),
)


def test_shards_that_are_not_of_one_run_are_one_error_line(here: Path) -> None:
    command = ("verify", "raw.pt2", "net.onnx")
    for options, path in (
        (("--data", "few.npz", "--shard", "1/2"), "1.json"),
        (("--data", "few.npz", "--shard", "2/2"), "2.json"),
        (("--data", "many.npz", "--shard", "2/2"), "other.json"),
        (("--data", "few.npz"), "whole.json"),
    ):
        assert run(*command, *options, "--report", path).code == 0
    for files, words in MERGES:
        result = run("report", "merge", *files, "--report", "merged.json")
        assert re.match(f"error: {words}", result.error), result.error
        assert result.code == 2
        assert not Path("merged.json").exists()


# Saved results.


def test_results_are_judged_again_under_another_policy(here: Path) -> None:
    assert run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--report", "r.json").code == 0
    strict = run("report", "r.json", "--policy", "logit-error=0", "--report", "strict.json", "--report", "strict.md")
    assert (strict.code, strict.err) == (1, "")
    assert strict.out.startswith("NOT EQUIVALENT  net.onnx  against  raw.pt2\n")
    assert json.loads(Path("strict.json").read_text())["policy"]["logit_error"] == 0
    assert "NOT EQUIVALENT" in Path("strict.md").read_text()
    assert run("report", "strict.json").code == 0, "what was found is in the file, the verdict is asked anew"


def test_report_prints_what_verify_printed(here: Path) -> None:
    wrong_ts()
    verified = run("verify", "raw.pt2", "net.onnx", "wrong.ts", "--data", "few.npz", "--report", "r.json")
    reported = run("report", "r.json")
    assert (reported.out, reported.err, reported.code) == (verified.out, "", 1)
    assert run("report", "judge", "r.json").out == verified.out
    as_json = run("report", "--json", "r.json")
    assert (as_json.out, as_json.code) == (Path("r.json").read_text(), 1)
    assert run("report", "r.json", "--format", "json").out == as_json.out


def test_results_of_a_conversion_are_judged_again_too(here: Path) -> None:
    assert run("convert", "raw.pt2", "-o", "n.onnx", "--data", "few.npz", "--report", "c.json").code == 0
    result = run("report", "c.json", "--policy", "logit-error=0")
    assert (result.code, result.err) == (1, "")
    assert result.out.startswith("NOT EQUIVALENT  n.onnx  against  raw.pt2\n")


def test_several_results_are_one_report(here: Path) -> None:
    for name in ("net.onnx", "net.ts"):
        assert run("verify", "raw.pt2", name, "--data", "few.npz", "--report", f"{name}.json").code == 0
    assert run("report", "net.onnx.json", "net.ts.json", "--report", "both.json").code == 0
    assert [result["candidate"] for result in results("both.json")] == ["net.onnx", "net.ts"]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "truncated"),
        (lambda text: "[]", "no report of snnconv"),
        (lambda text: text.replace('"schema": 4', '"schema": 2'), "schema is 2, not 4"),
        (lambda text: text.replace('"explained": 0', '"explained": -1', 1), "negative"),
        (lambda text: text.replace('"explained"', '"excused"', 1), "excused"),
    ],
    ids=["truncated", "list", "schema", "negative", "unknown"],
)
def test_a_damaged_result_is_one_error_line(change: Callable[[str], str], words: str, here: Path) -> None:
    run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--report", "r.json")
    Path("r.json").write_text(change(Path("r.json").read_text()))
    result = run("report", "r.json")
    assert result.error.startswith("error: r.json: ")
    assert words in result.error
    assert result.code == 2


def test_a_result_without_a_candidate_is_no_pass(here: Path) -> None:
    run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--report", "r.json")
    Path("r.json").write_text(json.dumps({**json.loads(Path("r.json").read_text()), "results": []}))
    assert run("report", "r.json").code != 0


def test_report_needs_no_torch(here: Path) -> None:
    run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--shard", "1/1", "--report", "r.json")
    for command in (("r.json",), ("merge", "r.json"), ("schema",), ("merge", "r.json", "--report", "m.md", "--report", "m.xml")):
        probe = f"import sys; sys.argv[1:] = {['report', *command]!r}\n" + (
            "from snnconv.cli.main import main\ntry:\n    main()\nexcept SystemExit as stop:\n"
            "    heavy = {'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)\n"
            "    print(stop.code, heavy, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-P", "-c", probe], capture_output=True, text=True, check=True)
        assert done.stderr == "0 set()\n", command


def test_the_schema_is_printed_and_results_keep_to_it(here: Path) -> None:
    from jsonschema import Draft202012Validator

    printed = run("report", "schema")
    assert (printed.code, printed.err) == (0, "")
    schema = json.loads(printed.out)
    Draft202012Validator.check_schema(schema)
    wrong_onnx()
    run("verify", "raw.pt2", "net.ts", "wrong.onnx", "--data", "few.npz", "--report", "v.json")
    run("convert", "raw.pt2", "-o", "n.onnx", "--data", "few.npz", "--report", "c.json")
    for path in ("v.json", "c.json"):
        Draft202012Validator(schema).validate(json.loads(Path(path).read_text()))
    for command in (("inspect", "raw.pt2"), ("fold", "raw.pt2", "-o", "f.pt2")):
        Draft202012Validator(schema).validate(json.loads(run(*command, "--json").out))
    broken = json.loads(Path("v.json").read_text())
    del broken["results"][0]["layers"]
    assert list(Draft202012Validator(schema).iter_errors(broken))


# Runs that are killed.

SLOW = """
import time
from pathlib import Path
import torch

class Slow:
    def __len__(self):
        return 450

    def __getitem__(self, index):
        if index % 80 == 79 and Path("slow").exists():
            time.sleep(0.4)
        with open("asked", "a") as file:
            file.write(f"{index}\\n")
        return torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(index)), index % 5
"""
VERIFY = ("verify", "raw.pt2", "wrong.onnx", "net.ts", "--data", "slowdata:Slow", "--resume", "journal", "--report", "r.json")


def process(*args: str) -> subprocess.Popen[str]:
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished(running: subprocess.Popen[str]) -> Result:
    out, err = running.communicate(timeout=120)
    return Result(running.returncode, out, err)


def kept() -> dict[str, Any]:
    try:
        return json.loads(Path("journal").read_text())
    except FileNotFoundError:
        return {"next_chunk": 0, "finished": []}


def killed_when(done: Callable[[dict[str, Any]], bool], by: signal.Signals) -> Result:
    running = process(*VERIFY)
    give_up = time.monotonic() + 100
    while not done(kept()):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    running.send_signal(by)
    return finished(running)


@pytest.fixture
def slow(here: Path) -> Path:
    """Data that take a few seconds while the file `slow` is there."""
    wrong_onnx()
    Path("slowdata.py").write_text(SLOW)
    Path("slow").touch()
    return here


@pytest.fixture
def whole(slow: Path) -> Path:
    """The same, with the report of a run that nothing disturbed."""
    Path("slow").unlink()
    assert finished(process(*VERIFY[:6], "--report", "whole.json")).code == 1
    Path("asked").unlink()
    Path("slow").touch()
    return slow


@pytest.mark.long
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT], ids=lambda by: by.name)
def test_a_killed_run_goes_on_and_reports_what_an_undisturbed_one_does(by: signal.Signals, whole: Path) -> None:
    done = killed_when(lambda journal: journal["next_chunk"] >= 2 and not journal["finished"], by)
    assert done.code == (-signal.SIGKILL if by is signal.SIGKILL else 130)
    assert done.out == ""
    assert not Path("r.json").exists()
    chunk = kept()["next_chunk"]
    assert 2 <= chunk < 6
    Path("slow").unlink()
    Path("asked").unlink()
    resumed = finished(process(*VERIFY))
    assert (resumed.code, resumed.err) == (1, "")
    assert timeless("r.json") == timeless("whole.json")
    assert not Path("journal").exists()
    asked = [int(line) for line in Path("asked").read_text().split()]
    first_candidate = asked[: asked.index(SAMPLES - 1) + 1]
    assert sorted(set(first_candidate) - set(range(16))) == list(range(chunk * CHUNK, SAMPLES)), (
        "finished chunks are read again, or some left out"
    )
    assert not [path.name for path in whole.iterdir() if path.name.startswith(".")], "a draft was left behind"


@pytest.mark.long
def test_a_run_killed_in_its_second_candidate_keeps_the_first(whole: Path) -> None:
    killed_when(lambda journal: journal["next_chunk"] >= 1 and bool(journal["finished"]), signal.SIGKILL)
    assert [found["candidate"] for found in kept()["finished"]] == ["wrong.onnx"]
    Path("slow").unlink()
    resumed = finished(process(*VERIFY))
    assert (resumed.code, resumed.err) == (1, "")
    assert timeless("r.json") == timeless("whole.json")


def test_an_interrupted_run_says_so_in_one_line(slow: Path) -> None:
    done = killed_when(lambda journal: journal["next_chunk"] >= 1, signal.SIGINT)
    assert done.error.startswith("error: interrupted")


@pytest.mark.long
def test_a_journal_of_another_run_is_one_error_line(here: Path) -> None:
    Path("slowdata.py").write_text(SLOW)
    Path("slow").touch()
    wrong_onnx()
    killed_when(lambda journal: journal["next_chunk"] >= 1, signal.SIGINT)
    before = Path("journal").read_bytes()
    done = finished(process(*VERIFY, "--seed", "1"))
    assert (
        done.error == "error: journal: belongs to another run: seed was 0, now it is 1; delete it, or name another with --resume"
    )
    assert done.code == 2
    assert Path("journal").read_bytes() == before
    assert not Path("r.json").exists()


def test_a_run_that_is_not_disturbed_leaves_no_journal(here: Path) -> None:
    result = run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--resume", "journal")
    assert (result.code, result.err) == (0, "")
    assert not Path("journal").exists()
    assert not [path.name for path in here.iterdir() if path.name.startswith(".")]


def test_a_journal_outlives_a_report_that_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("snnconv.report.write_report", full)
    result = run("verify", "raw.pt2", "net.onnx", "--data", "few.npz", "--resume", "journal", "--report", "r.json")
    assert result.code == 2
    assert len(kept()["finished"]) == 1


@pytest.mark.long
def test_arch_and_the_checkpoint_serve_as_well_as_a_program(here: Path) -> None:
    place(here, "net.pth")
    for source in (("raw.pt2",), ("net.pth", *ARCH)):
        assert run("verify", source[0], "net.onnx", *source[1:], "--data", "many.npz", "--report", f"{source[0]}.json").code == 0
    a, b = (results(f"{name}.json")[0] for name in ("raw.pt2", "net.pth"))
    assert a["layers"] == b["layers"]
    assert a["data"] == b["data"]


@pytest.mark.long
@pytest.mark.xfail(strict=True, reason="ONNX Runtime logs the failure of a node to stderr by itself")
def test_an_engine_that_gives_up_is_a_verdict_and_not_noise_on_stderr(here: Path) -> None:
    model = onnx.load_from_string(made("net.onnx"))
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.zeros(10, np.float32), bias.name))
    onnx.save(model, "wrong.onnx")
    done = finished(process("verify", "raw.pt2", "wrong.onnx", "--data", "few.npz"))
    assert done.code == 1
    assert done.out.startswith("NOT EQUIVALENT")
    assert done.err == ""


# ONNX files of other tools.


def stripped() -> str:
    """The sequence without the metadata of snnconv."""
    model = onnx.load("net.onnx")
    del model.metadata_props[:]
    onnx.save_model(model, "theirs.onnx")
    return "theirs.onnx"


def test_of_a_foreign_onnx_file_the_task_is_verified_and_a_line_says_so(here: Path) -> None:
    done = run("verify", "raw.pt2", stripped(), "--data", "few.npz")
    assert done.code == 0, done.err
    assert "note: theirs.onnx: carries no snnconv metadata; verified as with --level task" in done.err.splitlines()
    assert done.out.startswith("NO FAULT FOUND in task (proof, algebra, deployment not checked)")


def test_more_than_the_task_of_a_foreign_onnx_file_is_refused(here: Path) -> None:
    done = run("verify", "raw.pt2", stripped(), "--data", "few.npz", "--level", "algebra,task")
    assert done.code == 2
    assert "theirs.onnx: carries no snnconv metadata; only --level task is possible" in done.err
