"""Bad input of every kind through the real command line: one `error:` line, the promised exit code, nothing written."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import re
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from torch import Tensor

from snnconv.nn import LIF
from tests.cli.run import ARCH, Result, made, place, run, run_process
from tests.networks import Residual

USAGE, REFUSED, BACKEND = 2, 3, 4
Members = list[tuple[str, bytes]]
Edit = Callable[[Members], Members]
State = dict[str, Tensor]


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A folder for outputs in which nothing may be left."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    assert not list(folder.iterdir()), "something was written"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return place(tmp_path, "net.pth")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return place(tmp_path, "raw.pt2")


def check(result: Result, code: int, *words: str) -> None:
    """The command failed as promised, and its error line holds `words`."""
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.error
    assert result.code == code, result.err


def state() -> State:
    """The weights of the small network."""
    return torch.load(io.BytesIO(made("net.pth")), weights_only=True)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def half_of(content: bytes) -> bytes:
    return content[: len(content) // 2]


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


# Files that are no checkpoint.


def loop() -> dict[str, Any]:
    nested: dict[str, Any] = {}
    nested["model"] = nested
    return nested


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "no network here")
    return buffer.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], str, int, str]] = {
    "empty": (lambda: b"", ".pth", USAGE, "is empty"),
    "truncated torch": (lambda: half_of(made("net.pth")), ".pth", USAGE, "truncated"),
    "first bytes of torch": (lambda: made("net.pth")[:100], ".pth", USAGE, "truncated"),
    "truncated safetensors": (lambda: half_of(made("net.safetensors")), ".safetensors", USAGE, "truncated"),
    "first bytes of safetensors": (lambda: made("net.safetensors")[:6], ".safetensors", USAGE, "truncated"),
    "text": (lambda: b"epoch 1, loss 0.7\n" * 9, ".pth", USAGE, "check that it was copied completely"),
    "more text": (lambda: b"no checkpoint", ".pth", USAGE, "check that it was copied completely"),
    "text as safetensors": (lambda: b"epoch 1, loss 0.7\n" * 9, ".safetensors", USAGE, "not a safetensors file"),
    "random bytes": (lambda: np.random.default_rng(0).bytes(999), ".pth", USAGE, "check that it was copied completely"),
    "zip": (zipped, ".pth", USAGE, "a zip archive of other files, no checkpoint; unpack it first"),
    "ONNX": (lambda: made("net.onnx"), ".pth", USAGE, "an ONNX artifact, no checkpoint; name the file that it was made from"),
    "plain pickle": (lambda: pickle.dumps({"weights": [1.0]}, 2), ".pkl", USAGE, "a dict without tensors (keys 'weights')"),
    "newer pickle": (lambda: pickle.dumps({"weights": [1.0]}, 4), ".pkl", USAGE, "a dict without tensors (keys 'weights')"),
    "one tensor": (lambda: saved(torch.zeros(3, 2)), ".pth", USAGE, "one tensor of shape [3, 2], not a state-dict"),
    "list": (lambda: saved([1, 2]), ".pth", USAGE, "holds a list, not a state-dict"),
    "empty dict": (lambda: saved({}), ".pth", USAGE, "holds an empty dict, not a state-dict"),
    "dict of numbers": (lambda: saved({"epoch": 3}), ".pth", USAGE, "a dict without tensors (keys 'epoch')"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_checkpoint_is_named(kind: str, tmp_path: Path, out: Path) -> None:
    content, suffix, code, words = FILES[kind]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content())
    check(run("convert", path, *ARCH, "-o", out / "n.onnx"), code, str(path), words)
    check(run("inspect", path), code, str(path), words)


@pytest.mark.parametrize("command", ["inspect", "fold", "convert", "export", "verify"])
def test_a_missing_file_is_named_by_every_command(command: str, tmp_path: Path, out: Path) -> None:
    rest = {"inspect": (), "verify": (tmp_path / "n.onnx",), "fold": ("-o", out / "n.pt2")}.get(command, ("-o", out / "n.onnx"))
    check(run(command, tmp_path / "nope.pth", *rest), USAGE, "no such file")


@pytest.mark.parametrize("command", ["inspect", "convert", "export"])
def test_a_folder_is_no_source(command: str, tmp_path: Path, out: Path) -> None:
    check(run(command, tmp_path, *(("-o", out / "n.onnx") if command != "inspect" else ())), USAGE, "is a directory")


def test_a_name_that_is_too_long_is_an_error_of_the_user(tmp_path: Path, out: Path) -> None:
    check(run("inspect", tmp_path / ("n" * 300 + ".pth")), USAGE)
    check(run("fold", place(tmp_path, "net.pth"), *ARCH, "-o", out / ("n" * 300 + ".pt2")), USAGE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_are_named(net: Path, out: Path) -> None:
    net.chmod(0)
    check(run("inspect", net), USAGE, "no permission to read it")
    net.chmod(0o600)
    out.chmod(0o500)
    check(run("fold", net, *ARCH, "-o", out / "n.pt2"), USAGE, "no permission to write")


def test_a_checkpoint_that_contains_itself_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(saved(loop()))

    def hang(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        check(run("inspect", path), USAGE, "not a state-dict")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Files that want code run.


def test_a_checkpoint_is_read_under_the_suffix_of_another_format(tmp_path: Path) -> None:
    for name, suffix in (("net.pth", ".safetensors"), ("net.safetensors", ".pth")):
        path = tmp_path / f"swapped{suffix}"
        path.write_bytes(made(name))
        check(run("inspect", path, *ARCH), 0)


WRAPS: dict[str, Callable[[Touch], bytes]] = {
    "pickle": lambda evil: pickle.dumps(evil, 2),
    "zip": saved,
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_pickle_that_wants_code_run_is_refused_and_never_run(wrap: str, tmp_path: Path, out: Path) -> None:
    path, marker = tmp_path / "net.pth", tmp_path / "marker"
    path.write_bytes(WRAPS[wrap](Touch(marker)))
    check(run("convert", path, *ARCH, "-o", out / "n.onnx"), REFUSED, "would run code (posix.system)", "save only the weights")
    assert not marker.exists()
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)
    assert marker.exists(), "the file was harmless, so this test shows nothing"


def test_code_beside_the_weights_is_left_out_with_a_note_and_never_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "net.pth", tmp_path / "marker"
    path.write_bytes(saved({**state(), "extra": Touch(marker)}))
    result = run("inspect", path, *ARCH)
    check(result, 0)
    assert "left out, no code was run: 'extra' (posix.system)" in result.out
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_newer_pickle_is_never_run_either(protocol: int, tmp_path: Path) -> None:
    path, marker = tmp_path / "net.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Touch(marker), protocol))
    result = run("inspect", path, *ARCH)
    assert not marker.exists()
    assert result.code in (USAGE, REFUSED)


def module_file(folder: Path) -> Path:
    """A whole module, pickled."""
    path = folder / "net.pth"
    torch.save(torch.nn.Sequential(Residual(LIF(), LIF(), LIF())), path)
    return path


def test_a_pickled_module_is_refused(tmp_path: Path, out: Path) -> None:
    check(run("convert", module_file(tmp_path), *ARCH, "-o", out / "n.onnx"), REFUSED, "would run code", "save only the weights")


def test_the_class_of_a_pickled_module_is_named(tmp_path: Path) -> None:
    check(run("inspect", module_file(tmp_path), *ARCH), REFUSED, "would run code (torch.nn.modules.container.Sequential)")


@pytest.mark.parametrize("kind", ["newer pickle", "quantised"])
def test_libraries_keep_quiet(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps({}, 4) if kind == "newer pickle" else saved(changed(WEIGHT, quantised)()))
    assert "site-packages" not in run("inspect", path, *ARCH).err


# Checkpoints whose tensors are not those of the network.


def changed(key: str, change: Callable[[Tensor], Tensor]) -> Callable[[], State]:
    return lambda: {name: change(value) if name == key else value for name, value in state().items()}


def filled(value: float) -> Callable[[Tensor], Tensor]:
    def change(t: Tensor) -> Tensor:
        t = t.clone()
        t.view(-1)[1] = value
        return t

    return change


def quantised(t: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)


WEIGHT, VAR = "conv1.weight", "act1.norm.running_var"
STATES: dict[str, tuple[Callable[[], State], str]] = {
    "missing": (lambda: {k: v for k, v in state().items() if k != WEIGHT}, f"missing '{WEIGHT}'"),
    "extra": (lambda: {**state(), "head2.weight": torch.zeros(2)}, "unexpected 'head2.weight'"),
    "shape": (changed(WEIGHT, lambda t: t[:, :1]), f"'{WEIGHT}' is [6, 1, 3, 3], not [6, 2, 3, 3]"),
    "NaN": (changed(WEIGHT, filled(float("nan"))), f"'{WEIGHT}' holds 1 NaN or infinite values"),
    "infinity": (changed("head.bias", filled(float("-inf"))), "'head.bias' holds 1 NaN or infinite values"),
    "negative variance": (changed(VAR, filled(-0.5)), f"'{VAR}' holds a negative variance (-0.5)"),
    "NaN variance": (changed(VAR, filled(float("nan"))), f"'{VAR}' holds 1 NaN or infinite values"),
    "integers": (changed(WEIGHT, lambda t: t.to(torch.int64)), f"'{WEIGHT}' holds int64 values, not floats"),
    "bool": (changed(WEIGHT, lambda t: t > 0), f"'{WEIGHT}' holds bool values, not floats"),
    "complex": (changed(WEIGHT, lambda t: t.to(torch.complex64)), f"'{WEIGHT}' holds complex64 values, not floats"),
    "sparse": (changed(WEIGHT, lambda t: t.to_sparse()), f"'{WEIGHT}' holds"),
    "too large for float32": (changed(WEIGHT, lambda t: t.double() * 1e300), f"'{WEIGHT}' does not fit into float32"),
    "without data": (changed(WEIGHT, lambda t: t.to("meta")), f"'{WEIGHT}' holds"),
    "float8": (changed(WEIGHT, lambda t: t.to(torch.float8_e4m3fn)), f"'{WEIGHT}' holds"),
}


@pytest.mark.parametrize("kind", STATES)
def test_unfit_tensors_are_named(kind: str, tmp_path: Path, out: Path) -> None:
    make, words = STATES[kind]
    path = tmp_path / "net.pth"
    torch.save(make(), path)
    check(run("fold", path, *ARCH, "-o", out / "n.pt2"), USAGE, str(path), words)


def test_another_network_is_told_the_nearest_architecture_and_what_differs(net: Path, out: Path) -> None:
    result = run("convert", net, "-o", out / "n.onnx")
    check(result, USAGE, "not a network that snnconv knows; nearest is ", "missing '", "unexpected '", "--arch")


def test_another_network_is_told_what_differs_from_the_architecture_named(net: Path, out: Path) -> None:
    result = run("convert", net, "--arch", "vgg16_bn", "-o", out / "n.onnx")
    check(result, USAGE, "does not fit vgg16_bn: missing 'model.features.0.pool.weight'")


# Architectures.

FACTORIES = """
from torch import nn
from snnconv.nn import LIF
from tests.networks import Residual, per_channel

def raises(): raise RuntimeError("out of luck")
def raises_at_length(): raise RuntimeError("out of luck\\nand here is why\\nat length")
def exits(): raise SystemExit(0)
def wants(classes): return per_channel()
def number(): return 5
def dull(): return nn.Linear(2, 2)

def never():
    net = per_channel()
    net.timesteps = 0
    return net

def flat():
    net = per_channel()
    net.input_shape = 8
    return net

class Twice(Residual):
    def forward(self, x): return super().forward(self.act1(x.repeat(1, 3, 1, 1))[:, :2])

def shared():
    net = per_channel()
    net.__class__ = Twice
    return net
"""
ARCHITECTURES: dict[str, tuple[int, str]] = {
    "resnet99": (USAGE, "--arch 'resnet99' is unknown; did you mean "),
    "vgg16bn": (USAGE, "--arch 'vgg16bn' is unknown; did you mean 'vgg16_bn'? it is one of"),
    "tests.networks.per_channel": (USAGE, "is unknown; did you mean tests.networks:per_channel? it is"),
    "tests/networks.py:per_channel": (USAGE, "; did you mean tests.networks:per_channel? run beside it"),
    "tests.networks:per_chanel": (USAGE, "has no 'per_chanel'; did you mean 'per_channel'? name"),
    "no_such_module:net": (USAGE, "cannot import no_such_module: No module named 'no_such_module'; run beside it"),
    "tests.networks:nope": (USAGE, "tests.networks has no 'nope'; name a function of it"),
    "tests.networks:": (USAGE, "has no ''"),
    ":per_channel": (USAGE, "--arch :per_channel"),
    "tests.networks:SHAPE": (USAGE, "calling it fails: TypeError"),
    "tests.networks:per_element": (USAGE, "does not fit --arch tests.networks:per_element: unexpected 'act3.norm.weight'"),
    "factories:raises": (USAGE, "calling it fails: RuntimeError: out of luck, in factories.py line"),
    "factories:raises_at_length": (USAGE, "calling it fails: RuntimeError: out of luck"),
    "factories:exits": (USAGE, "calling it fails"),
    "factories:wants": (USAGE, "calling it fails: TypeError: wants() missing 1 required positional argument"),
    "factories:number": (USAGE, "returns a int; it must return a torch.nn.Module"),
    "factories:dull": (USAGE, "does not fit --arch factories:dull"),
    "factories:never": (USAGE, "timesteps"),
    "factories:flat": (USAGE, "input"),
    "factories:shared": (REFUSED, "neuron act1 is called 2 times in one time step"),
    "broken_syntax:net": (USAGE, "importing broken_syntax fails: SyntaxError"),
    "broken_import:net": (USAGE, "importing broken_import fails: ZeroDivisionError"),
    "broken_attribute:net": (USAGE, "importing broken_attribute fails: AttributeError"),
    "broken_exit:net": (USAGE, "importing broken_exit fails"),
}
MODULES = {
    "factories": FACTORIES,
    "broken_syntax": "def net(:",
    "broken_import": "1 / 0",
    "broken_attribute": "import os\nos.no_such_thing",
    "broken_exit": "import sys\nsys.exit(0)",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_architecture_that_cannot_be_built_is_named(arch: str, net: Path, out: Path) -> None:
    code, words = ARCHITECTURES[arch]
    check(run("fold", net, "--arch", arch, "-o", out / "n.pt2"), code, words)


@pytest.mark.usefixtures("modules")
def test_a_network_without_neurons_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    check(run("inspect", path, "--arch", "factories:dull", "--input-shape", "2"), REFUSED, "no spiking neuron")


# Frameworks.


FRAMEWORKS = """
def missing():
    import snntorch

def lone():
    import snntorch
    from torch import nn
    net = nn.Sequential(nn.Linear(2, 2), snntorch.Leaky(0.5, init_hidden=True))
    net.input_shape = (2,)
    return net

def untaught():
    from torch import nn
    class Half(nn.Module):
        v = 0
        def forward(self, x):
            self.v = self.v / 2 + x
            if bool(self.v.isnan().any()):
                raise ValueError("not a number")
            return (self.v > 0.5).to(x.dtype) + (self.v > 1).to(x.dtype)
    net = nn.Sequential(nn.Linear(2, 2), Half())
    net.input_shape = (2,)
    return net
"""


@pytest.fixture
def frameworks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint beside a file of factories."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    (tmp_path / "nets.py").write_text(FRAMEWORKS)
    torch.save({"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2)}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_a_framework_that_is_not_installed_is_named_with_the_command(frameworks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snntorch", None)
    check(
        run("inspect", frameworks, "--arch", "nets:missing"),
        BACKEND,
        "nets:missing needs snntorch; pip install 'snnconv[snntorch]'",
    )


def test_another_version_of_a_framework_is_named_beside_the_supported_one(
    frameworks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnconv.adapters.loading.version", lambda name: "0.9.4")
    words = "snntorch 0.9.4 is installed; 1.x is supported; pip install 'snnconv[snntorch]'"
    check(run("inspect", frameworks, "--arch", "nets:lone"), BACKEND, words)


def test_inspect_lists_a_neuron_that_nobody_taught_and_says_what_to_do(frameworks: Path) -> None:
    result = run("inspect", frameworks, "--arch", "nets:untaught")
    assert result.code == REFUSED
    assert re.search(r"^ 1 +Half +keeps a state, and no adapter knows it *$", result.out, re.M)
    assert result.out.endswith("teach it in the file of the factory: from snnconv.adapters import adapter\n")
    assert json.loads(run("inspect", frameworks, "--arch", "nets:untaught", "--json").out)["unknown"] == {"1": "Half"}


# Options.

OPTIONS: dict[str, str] = {
    "--batch 0": "--batch is '0'; it is a positive number or 'dynamic'",
    "--batch -3": "--batch is '-3'",
    "--batch 1048577": "a batch of 1048577 is too large; it is at most 1048576",
    "--batch many": "--batch is 'many'",
    "--batch ²": "--batch is '²'",
    "--time foo": "--time is 'foo'; it is 'sequence' or 'step'",
    "--time sequnce": "--time is 'sequnce'; did you mean 'sequence'? it is",
    "--timesteps 0": "timesteps is 0; it is at least 1",
    "--timesteps -1": "timesteps is -1",
    "--timesteps four": "--timesteps",
    "--input-shape abc": "input shape is 'abc'; it is sizes separated by commas, as in 3,32,32",
    "--input-shape 2,8,": "input shape is '2,8,'",
    "--input-shape 2,0,8": "input shape is [2, 0, 8]; it is positive sizes",
    "--readout foo": "readout is 'foo'; it is one of mean, sum, last, max, none",
    "--input-shape (2,8": "input shape is '(2,8'",
    "--input-shape 2,,8": "input shape is '2,,8'",
    "--input evnt": "input is 'evnt'; did you mean 'event'? it is one of static, event",
    "--input video": "input is 'video'; it is one of static, event",
    "--leak 0.5": "--leak does not apply: the factory sets",
    "--threshold much": "--threshold",
    "--no-strict": "--strict does not apply",
    "--policy agreement=1.5": "--policy: agreement is 1.5; it is a share from 0 to 1",
    "--policy agreement=nan": "--policy: agreement is nan",
    "--policy logit-error=-1": "--policy: logit-error is -1.0; it is not negative",
    "--policy agreement=most": "--policy: agreement is 'most'; it is a number",
    "--policy agreement": "--policy 'agreement'; it is KEY=VALUE, as in agreement=0.995",
    "--policy explained=1": "unknown setting 'explained'; did you mean 'explained-flips'? known are",
    "--policy accuracy=1": "unknown setting 'accuracy'; did you mean 'accuracy-drop'? known are accuracy-drop",
    "--labels y.npy": "y.npy: labels without samples; name the samples with --data",
    "--seed x": "--seed",
    f"--seed {2**70}": "--seed",
    "--fast": "No such option: --fast",
    "--config nope.toml": "nope.toml: no such file",
    "--data nope.npz": "nope.npz: no such file",
    "--data nope": "nope: no such file or folder; data is a folder of .npz files, an .npz with x",
    "--data tests/data.py:load": "no such file or folder; did you mean tests.data:load? data is a folder",
    "--data nope:data": "nope:data: cannot import nope: No module named 'nope'; run beside it, or install it",
    "--data tests.networks:nope": "tests.networks:nope: tests.networks has no 'nope'",
    "--report nope/r.json": "the folder nope does not exist",
    "--report r.txt": "r.txt: unknown suffix '.txt'; a report is one of .json, .xml, .md, .html",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option_is_named(option: str, net: Path, out: Path) -> None:
    check(run("convert", net, *ARCH, "-o", out / "n.onnx", *option.split()), USAGE, OPTIONS[option])


VERIFY_OPTIONS: dict[str, str] = {
    "--level all": "--level 'all' is unknown; levels are proof, algebra, deployment, task",
    "--level proof,": "--level '' is unknown",
    "--level proof,tasks": "--level 'tasks' is unknown; did you mean 'task'? levels are",
    "--shard 3": "shard is '3'; it is i/n with 1 <= i <= n, as in 2/4",
    "--shard 0/2": "shard is '0/2'",
    "--shard 3/2": "shard is '3/2'",
    "--format xml": "--format is 'xml'; it is 'text', 'json' or 'github'",
    "--json --format github": "--json and --format github exclude each other",
    "--resume nope/journal": "nope/journal: the folder nope does not exist",
    "--resume .": ".: is a directory",
    "--agreement 0.9": "No such option: --agreement",
    "--policy agreement=2": "--policy: agreement is 2.0",
}


@pytest.mark.parametrize("option", VERIFY_OPTIONS)
def test_a_wrong_option_of_verify_is_named(option: str, raw: Path, tmp_path: Path, out: Path) -> None:
    candidate = place(tmp_path, "folded.pt2")
    check(run("verify", raw, candidate, "--report", out / "r.json", *option.split()), USAGE, VERIFY_OPTIONS[option])


def test_a_file_of_something_else_is_no_journal_and_stays_as_it_is(raw: Path, tmp_path: Path) -> None:
    for name in ("net.ts", "raw.pt2"):
        mine = place(tmp_path, name)
        check(run("verify", raw, place(tmp_path, "folded.pt2"), "--resume", mine), USAGE, f"{mine}: not a journal of snnconv")
        assert mine.read_bytes() == made(name)


def test_nobody_is_told_to_delete_what_is_no_journal(raw: Path, tmp_path: Path) -> None:
    result = run("verify", raw, place(tmp_path, "folded.pt2"), "--resume", place(tmp_path, "net.ts"))
    assert "delete it" not in result.error


def test_a_report_is_not_lost_where_the_journal_has_its_name(raw: Path, tmp_path: Path) -> None:
    both = tmp_path / "r.json"
    code = run("verify", raw, place(tmp_path, "folded.pt2"), "--resume", both, "--report", both).code
    assert code == USAGE or both.is_file()


def test_a_shape_that_does_not_fit_is_refused(net: Path, out: Path) -> None:
    result = run("fold", net, *ARCH, "--input-shape", "3,8,8", "-o", out / "n.pt2")
    check(result, REFUSED, "does not run on an input of shape [3, 8, 8]", "--input-shape C,H,W")


def test_a_membrane_norm_per_element_needs_its_own_shape(tmp_path: Path, out: Path) -> None:
    from tests.networks import per_element

    path = tmp_path / "net.pth"
    torch.save(per_element().state_dict(), path)
    options = ("--arch", "tests.networks:per_element", "--input-shape", "2,9,9")
    check(
        run("fold", path, *options, "-o", out / "n.pt2"), REFUSED, "does not run on an input of shape [2, 9, 9]", "--input-shape"
    )


USAGES = {
    "frobnicate": "No such command 'frobnicate'",
    "convert": "Missing argument 'SOURCE'",
    "convert net.pth": "Missing option '-o'",
    "verify net.pth": "Missing argument 'CANDIDATE'",
    "report merge": "Missing argument 'FILE'",
    "report judge": "Missing argument 'FILE'",
    "conver net.pth": "No such command 'conver'. Did you mean 'convert'?",
    "convert net.pth --polcy agreement=1": "No such option: --polcy; did you mean --policy?",
    "verify net.onnx net.pth": "net.pth: a checkpoint, no candidate; the source comes first: snnconv verify net.pth net.onnx",
    "verify net.pt2 --shard 1/2 a.ts net.safetensors": "snnconv verify net.safetensors net.pt2",
    "verify net.pth net.onnx --json --format text": "--json and --format text exclude each other",
    "report nope.json": "nope.json: no such file",
    "report merge nope.json": "nope.json: no such file",
    "report --fast": "No such option: --fast",
    "report schema more": "unexpected extra argument",
    "inspect net.pth other.pth": "unexpected extra argument",
}


@pytest.mark.parametrize("args", USAGES)
def test_wrong_usage_is_one_line_too(args: str) -> None:
    check(run(*args.split()), USAGE, USAGES[args])


# Configuration files.

CONFIGS: dict[str, tuple[str, str]] = {
    "not TOML": ("timesteps: 4", "not TOML"),
    "not text": ("timesteps = '\udcff'", "not TOML"),
    "unknown key": (
        "timestep = 4",
        "unknown setting 'timestep'; did you mean 'timesteps'? known are arch, ignore, input, input-shape",
    ),
    "wrong type": ("timesteps = 'four'", "'timesteps' is 'four'; it is a int"),
    "bool for a number": ("timesteps = true", "'timesteps' is True; it is a int"),
    "wrong value": ("readout = 'median'", "readout is 'median'"),
    "wrong shape": ("input-shape = [2, 'x', 8]", "input shape is '2,x,8'"),
    "zero": ("timesteps = 0", "timesteps is 0"),
    "tool is a number": ("tool = 4", "tool"),
    "tool.snnconv is a number": ("[tool]\nsnnconv = 4", "snnconv"),
    "unknown table": ("[snnconv]\ntimesteps = 3", "snnconv"),
    "policy unknown": (
        "[verify]\nagreed = 1",
        "[tool.snnconv.verify]: unknown setting 'agreed'; did you mean 'agreement'? known are accuracy-drop",
    ),
    "policy of words": ("[verify]\nagreement = 'all'", "[tool.snnconv.verify]: agreement is 'all'; it is a number"),
    "policy no table": ("verify = 1", "verify"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_wrong_configuration_is_named(kind: str, net: Path, out: Path, tmp_path: Path) -> None:
    text, words = CONFIGS[kind]
    path = tmp_path / "snn.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    command = ("convert", net, *ARCH, "--config", path, "-o", out / "n.onnx")
    check(run(*command), USAGE, words)


def test_a_folder_is_no_configuration(net: Path, tmp_path: Path) -> None:
    check(run("inspect", net, *ARCH, "--config", tmp_path), USAGE, "cannot be read")


# Data.


def frames(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.full(shape or (4, 2, 8, 8), 0.5, dtype)


def npz(compress: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, frames())
    return buffer.getvalue()


def with_nan() -> np.ndarray:
    x = frames()
    x[1, 1, 2, 3] = np.nan
    return x


def corrupted(at: int, value: int) -> bytes:
    content = bytearray(npz(compress=True, x=np.random.default_rng(0).random((4, 2, 8, 8), np.float32)))
    content[at : at + 40] = bytes([value] * 40)
    return bytes(content)


DATA: dict[str, tuple[Callable[[], bytes], str]] = {
    "wrong shape": (lambda: npz(x=frames(4, 3, 8, 8)), "x is [4, 3, 8, 8], but the network takes [N, C, H, W] = [N, 2, 8, 8]"),
    "frames": (lambda: npz(x=frames(4, 4, 2, 8, 8)), "x is [4, 4, 2, 8, 8], but"),
    "scalar": (lambda: npz(x=np.float32(1)), "x is [], but"),
    "no samples": (lambda: npz(x=frames(0, 2, 8, 8)), "x holds no samples"),
    "integers": (lambda: npz(x=frames(dtype=np.uint8)), "x is uint8, not float32; scale it as in training"),
    "text": (lambda: npz(x=np.full((4, 2, 8, 8), "a")), "x is <U1, not float32"),
    "NaN": (lambda: npz(x=with_nan()), "x holds NaN or infinite values"),
    "too large for float32": (lambda: npz(x=frames(dtype=np.float64) * 1e300), "x does not fit into float32"),
    "no x": (lambda: npz(images=frames()), "holds images, no 'x'"),
    "nothing": (lambda: npz(), "holds nothing, no 'x'"),
    "empty file": (lambda: b"", "is empty"),
    "truncated": (lambda: half_of(npz(x=frames())), "not a plain .npz, or truncated"),
    "corrupted": (lambda: corrupted(200, 0), "not a plain .npz, or truncated"),
    "not deflated": (lambda: corrupted(50, 255), "not a plain .npz, or truncated"),
    "not npz": (lambda: b"not an archive", "not a plain .npz, or truncated"),
    "npy": (npy, "not a plain .npz"),
    "pickled objects": (lambda: npz(x=np.array([{}], dtype=object)), "not a plain .npz"),
    "too few labels": (lambda: npz(x=frames(), y=np.zeros(3, np.int64)), "4 samples in x, but 3 labels in y"),
    "labels of floats": (lambda: npz(x=frames(), y=np.zeros(4)), "y is float64 of shape [4]; labels are integers [N]"),
    "labels one-hot": (lambda: npz(x=frames(), y=np.zeros((4, 5), np.int64)), "y is int64 of shape [4, 5]"),
    "pickled labels": (lambda: npz(x=frames(), y=np.array([None] * 4)), "not a plain .npz"),
}


@pytest.mark.parametrize("kind", DATA)
def test_wrong_data_is_named(kind: str, raw: Path, out: Path, tmp_path: Path) -> None:
    make, words = DATA[kind]
    path = tmp_path / "data.npz"
    path.write_bytes(make())
    check(run("convert", raw, "--data", path, "-o", out / "n.onnx"), USAGE, str(path), words)


def test_data_of_another_suffix_is_named(raw: Path, out: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("0.1,0.2\n")
    check(run("convert", raw, "--data", path, "-o", out / "n.onnx"), USAGE, "unknown suffix '.csv'", ".npz")


# Outputs.


@pytest.mark.parametrize(("command", "name"), [("fold", "n.pt2"), ("convert", "n.onnx"), ("export", "n.ts")])
def test_an_existing_output_is_left_alone_without_force(command: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("mine")
    before = path.stat()
    check(run(command, place(tmp_path, "folded.pt2"), "-o", path), USAGE, f"{path}: already exists", "--force")
    assert path.read_text() == "mine"
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert {p.name for p in tmp_path.iterdir()} == {name, "folded.pt2"}


@pytest.mark.parametrize(("command", "name"), [("fold", "n.pt2"), ("convert", "n.onnx"), ("export", "n.ts")])
def test_an_output_needs_a_place(command: str, name: str, tmp_path: Path, out: Path) -> None:
    source = place(tmp_path, "folded.pt2")
    check(run(command, source, "-o", out / "nowhere" / name), USAGE, f"the folder {out / 'nowhere'} does not exist")
    check(run(command, source, "-o", source / name), USAGE, str(source / name))
    folder = tmp_path / name
    folder.mkdir()
    check(run(command, source, "-o", folder, "--force"), USAGE, f"{folder}: is a directory")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("command", "known"), [("fold", ".pt2"), ("convert", ".onnx (onnx)"), ("export", ".ts (torchscript)")])
@pytest.mark.parametrize(("name", "suffix"), [("n.exe", ".exe"), ("n", ""), (".onnx", "")])
def test_an_output_needs_a_suffix_that_is_known(
    command: str, known: str, name: str, suffix: str, tmp_path: Path, out: Path
) -> None:
    result = run(command, place(tmp_path, "folded.pt2"), "-o", out / name)
    check(result, USAGE, f"unknown suffix '{suffix}'", known)


def test_a_format_that_is_unknown_is_named(tmp_path: Path, out: Path) -> None:
    result = run("export", place(tmp_path, "folded.pt2"), "-o", out / "n.onnx", "--format", "tflite")
    check(result, USAGE, "--format 'tflite' is unknown", "it is one of onnx, torchscript")


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("convert", "n.onx", "unknown suffix '.onx'; did you mean '.onnx'? use one of .onnx (onnx), .ts (torchscript)"),
        ("export", "n.onx", ".torchscript (torchscript), or --format"),
        ("convert", "n.pt2", "a .pt2 is a folded program, no artifact; snnconv fold makes it"),
    ],
)
def test_a_suffix_nobody_knows_is_told_what_the_command_has(
    command: str, name: str, words: str, tmp_path: Path, out: Path
) -> None:
    result = run(command, place(tmp_path, "folded.pt2"), "-o", out / name)
    check(result, USAGE, words)
    assert command == "export" or "--format" not in result.err


def test_two_outputs_of_one_name_are_refused_however_they_are_spelt(tmp_path: Path, out: Path) -> None:
    result = run("convert", place(tmp_path, "folded.pt2"), "-o", out / "n.onnx", "-o", out / ".." / out.name / "n.onnx")
    check(result, USAGE, "two outputs have the same name")


@pytest.mark.parametrize("name", ["net.onnx", "net.ts"])
def test_an_artifact_is_told_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    check(run("inspect", place(tmp_path, name), *ARCH), USAGE, " artifact, no checkpoint; name the file")


def test_torchscript_refuses_a_fixed_batch(tmp_path: Path, out: Path) -> None:
    result = run("export", place(tmp_path, "folded.pt2"), "-o", out / "n.ts", "--batch", "4")
    check(result, REFUSED, "TorchScript takes any batch size")


def test_a_target_that_cannot_be_made_leaves_none_of_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = run("convert", place(tmp_path, "folded.pt2"), "-o", out / "n.onnx", "-o", out / "n.ts", "--batch", "4")
    check(result, REFUSED, "TorchScript takes any batch size")
    assert not list(out.iterdir())


@pytest.mark.parametrize(("command", "name"), [("fold", "n.pt2"), ("convert", "n.onnx"), ("export", "n.onnx")])
def test_a_full_disk_leaves_nothing_behind(
    command: str, name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = place(tmp_path, "folded.pt2")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    check(
        run(command, source, "-o", out / name), USAGE, f"{out / name}: cannot write: No space left on device", "free some space"
    )


def test_a_report_on_a_full_disk_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    args = [place(tmp_path, "folded.pt2"), place(tmp_path, "net.ts")]

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    check(run("verify", *args, "--report", out / "r.json"), USAGE, f"{out / 'r.json'}: cannot write: No space left on device")


# Programs.


def repack(archive: bytes, edit: Edit) -> bytes:
    """A zip with its members edited."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        members = edit([(name, old.read(name)) for name in old.namelist()])
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as new:
        warnings.simplefilter("ignore")  # about names that come twice
        for name, content in members:
            new.writestr(name, content)
    return buffer.getvalue()


def member(name: str, change: Callable[[bytes], bytes]) -> Edit:
    """Change one member, found by the end of its name."""
    return lambda members: [(path, change(content) if path.endswith(name) else content) for path, content in members]


def manifest(change: Callable[[Any], Any]) -> Edit:
    return member("program.json", lambda content: json.dumps(change(json.loads(content))).encode())


def without(name: str) -> Edit:
    return lambda members: [(path, content) for path, content in members if path != name]


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), buffer)
    return buffer.getvalue()


def folded(edit: Edit) -> Callable[[], bytes]:
    return lambda: repack(made("folded.pt2"), edit)


def damaged() -> bytes:
    content = bytearray(made("folded.pt2"))
    content[len(content) // 3] ^= 255
    return bytes(content)


PROGRAMS: dict[str, tuple[Callable[[], bytes], str]] = {
    "torch.export's": (exported, "not an snnconv program; make one with: snnconv fold"),
    "checkpoint": (lambda: made("net.pth"), "not an snnconv program"),
    "text": (lambda: b"a program", "not an snnconv program"),
    "empty": (lambda: b"", "is empty"),
    "truncated": (lambda: half_of(made("folded.pt2")), "not an snnconv program"),
    "damaged": (damaged, "make it again with snnconv fold"),
    "of another format": (folded(manifest(lambda m: {**m, "format": 99})), "format 99, but this snnconv reads 1"),
    "without tensors": (folded(without("tensors.safetensors")), "make it again"),
    "without contract": (folded(manifest(lambda m: {k: v for k, v in m.items() if k != "contract"})), "make it again"),
    "manifest not JSON": (folded(member("program.json", half_of)), "make it again"),
    "manifest not text": (folded(member("program.json", lambda c: b"\xff" + c)), "make it again"),
    "manifest a list": (folded(manifest(lambda m: [])), "make it again"),
    "contract unknown": (folded(manifest(lambda m: {**m, "contract": {**m["contract"], "x": 1}})), "make it again"),
    "tensors truncated": (folded(member("tensors.safetensors", half_of)), "make it again"),
    "graph a word": (folded(manifest(lambda m: {**m, "graph": "conv"})), "make it again"),
    "graph without nodes": (folded(manifest(lambda m: {**m, "graph": []})), "make it again"),
    "graph out of order": (folded(manifest(lambda m: {**m, "graph": m["graph"][::-1]})), "make it again"),
    "member twice": (folded(lambda members: [*members, members[0]]), "make it again"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_file_that_is_no_program_is_named(kind: str, tmp_path: Path, out: Path) -> None:
    make, words = PROGRAMS[kind]
    path = tmp_path / "n.pt2"
    path.write_bytes(make())
    check(run("export", path, "-o", out / "n.onnx"), USAGE, str(path), words)


def test_a_program_that_is_not_folded_is_not_exported(raw: Path, out: Path) -> None:
    check(run("export", raw, "-o", out / "n.onnx"), USAGE, f"{raw}: is not folded; fold it first: snnconv fold SOURCE -o F.pt2")


@pytest.mark.parametrize("option", [["--timesteps", "2"], ["--readout", "sum"], ["--leak", "0.1"], ["--arch", "vgg16_bn"]])
def test_a_program_has_its_own_settings(option: list[str], raw: Path) -> None:
    check(run("inspect", raw, *option), USAGE, f"{option[0]} does not apply: {raw} already says it")


def test_a_program_with_a_foreign_operator_is_refused(tmp_path: Path, out: Path) -> None:
    def foreign(m: Any) -> Any:
        next(node for node in m["graph"] if node["op"] == "call_function")["target"] = "os.system.default"
        return m

    path = tmp_path / "n.pt2"
    path.write_bytes(repack(made("folded.pt2"), manifest(foreign)))
    check(run("export", path, "-o", out / "n.onnx"), REFUSED, "never runs code from a file")


# Candidates.


def onnx_with(**metadata: str) -> bytes:
    """The small network's ONNX file with other metadata."""
    model = onnx.load_from_string(made("net.onnx"))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


def onnx_elsewhere() -> bytes:
    """An ONNX file whose weights are in another file, which is missing."""
    model = onnx.load_from_string(made("net.onnx"))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    model.graph.initializer[0].ClearField("raw_data")
    return model.SerializeToString()


def card(**changes: object) -> str:
    """The metadata of the small network's ONNX file with entries changed, or left out where None."""
    props = {p.key: p.value for p in onnx.load_from_string(made("net.onnx")).metadata_props}
    entries = {**json.loads(props["snnconv"]), **changes}
    return json.dumps({key: value for key, value in entries.items() if key not in changes or value is not None})


def scripted(**files: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer, _extra_files=files)
    return buffer.getvalue()


CANDIDATES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "unknown suffix": ("n.bin", lambda: made("net.onnx"), "unknown suffix '.bin'; a candidate is one of .pt2, .onnx"),
    "checkpoint": ("n.pth", lambda: made("net.pth"), "a checkpoint, no candidate"),
    "empty": ("n.onnx", lambda: b"", "is empty"),
    "ONNX truncated": ("n.onnx", lambda: half_of(made("net.onnx")), "not an ONNX file, or truncated"),
    "ONNX text": ("n.onnx", lambda: b"hello, this is text\n" * 9, "not an ONNX file, or truncated"),
    "ONNX with damaged metadata": ("n.onnx", lambda: onnx_with(snnconv="{"), "metadata is damaged"),
    "ONNX with a list for metadata": ("n.onnx", lambda: onnx_with(snnconv="[]"), "metadata is damaged"),
    "ONNX with empty metadata": ("n.onnx", lambda: onnx_with(snnconv="{}"), "metadata is damaged"),
    "ONNX without names": ("n.onnx", lambda: onnx_with(snnconv=card(tensors=None)), "metadata is damaged"),
    "ONNX without the names of a neuron": ("n.onnx", lambda: onnx_with(snnconv=card(tensors={})), "metadata is damaged"),
    "ONNX with a word for its batch": ("n.onnx", lambda: onnx_with(snnconv=card(batch="many")), "metadata is damaged"),
    "ONNX with weights elsewhere": ("n.onnx", onnx_elsewhere, "n.onnx"),
    "TorchScript truncated": ("n.ts", lambda: half_of(made("net.ts")), "not a TorchScript file, or truncated"),
    "TorchScript text": ("n.ts", lambda: b"hello", "not a TorchScript file, or truncated"),
    "TorchScript of others": ("n.ts", scripted, "carries no snnconv metadata"),
    "TorchScript with damaged metadata": ("n.ts", lambda: scripted(**{"snnconv.json": "{"}), "metadata is damaged"),
    "checkpoint as TorchScript": ("n.ts", lambda: made("net.pth"), "not a TorchScript file"),
    "program not folded": ("n.pt2", lambda: made("raw.pt2"), "is not folded"),
    "program truncated": ("n.pt2", lambda: half_of(made("folded.pt2")), "not an snnconv program"),
}


@pytest.mark.parametrize("kind", CANDIDATES)
def test_a_candidate_that_cannot_be_opened_is_named(kind: str, raw: Path, tmp_path: Path, out: Path) -> None:
    name, make, words = CANDIDATES[kind]
    path = tmp_path / name
    path.write_bytes(make())
    check(run("verify", raw, path, "--report", out / "r.json"), USAGE, str(path), words)


# The same in a process of its own, where nothing catches what a library writes to stderr by itself.


def test_a_wrong_checkpoint_is_one_line_in_a_process_of_its_own(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(saved(STATES["shape"][0]()))
    check(run_process("convert", path, *ARCH, "-o", out / "n.onnx"), USAGE, STATES["shape"][1])


@pytest.mark.long
def test_a_wrong_candidate_is_one_line_in_a_process_of_its_own(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "n.ts"
    path.write_bytes(half_of(made("net.ts")))
    check(run_process("verify", raw, path), USAGE, "not a TorchScript file, or truncated")


def test_a_factory_is_looked_for_beside_the_user(net: Path, tmp_path: Path) -> None:
    check(run_process("inspect", net, *ARCH, cwd=tmp_path), USAGE, "cannot import tests", "run beside it, or install it")


def test_debug_shows_where_it_happened(tmp_path: Path) -> None:
    result = run("inspect", tmp_path / "nope.pth", "--debug")
    assert result.code == USAGE
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("error: ")


def test_safetensors_with_a_tensor_that_torch_cannot_check_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file({**state(), WEIGHT: state()[WEIGHT].to(torch.float8_e5m2)}, path)
    check(run("inspect", path, *ARCH), USAGE, WEIGHT)
