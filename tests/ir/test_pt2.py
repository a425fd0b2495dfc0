"""`.pt2` files: what is saved comes back, the same program gives the same bytes, and nothing in a file is ever run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import InputError, Refused
from snnconv.export import FORMATS, encode
from snnconv.fold import fold
from snnconv.ir.program import Origin, SpikingProgram, tensors
from snnconv.ir.pt2 import load, save
from snnconv.nn import LIF
from tests.ir.test_neuron import assert_same
from tests.networks import NETWORKS, Foreign, Named, program_of, trained

ROOT = Path(__file__).parents[2]
MACHINE = (b"/work", b"/tmp", b"/home", b"site-packages", str(ROOT).encode())


@cache
def folded(name: str) -> SpikingProgram:
    program = program_of(NETWORKS[name](), timesteps=3, event=name == "per_element", readout="sum")
    return fold(replace(program, origin=Origin("official.res20m", "ab" * 32, {"timesteps": "3 (--timesteps)"})))


@cache
def archived(name: str) -> bytes:
    """The content of a saved program."""
    with tempfile.TemporaryDirectory() as folder:
        save(folded(name), Path(folder, "net.pt2"))
        return Path(folder, "net.pt2").read_bytes()


def back(content: bytes, folder: Path) -> SpikingProgram:
    (folder / "net.pt2").write_bytes(content)
    return load(folder / "net.pt2")


def changed(content: bytes, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> bytes:
    """A zip with every member passed through `change`, and `extra` members added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, added in (extra or {}).items():
            new.writestr(name, added)
    return buffer.getvalue()


def everything(content: bytes) -> list[bytes]:
    """The bytes of a zip and of every member, zips inside it opened too."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [archive.read(name) for name in archive.namelist()]
    inner = [part for member in members if zipfile.is_zipfile(io.BytesIO(member)) for part in everything(member)]
    return [content, *members, *inner]


def assert_same_program(a: SpikingProgram, b: SpikingProgram) -> None:
    assert a.contract == b.contract and a.origin == b.origin and a.sites == b.sites
    assert list(a.neurons) == list(b.neurons) and a.proofs.keys() == b.proofs.keys()
    for name, neuron in a.neurons.items():
        assert_same(neuron, b.neurons[name])
    for name, proof in a.proofs.items():
        other = b.proofs[name]
        assert_same(proof.norm, other.norm)
        assert torch.equal(proof.threshold, other.threshold) and proof.threshold.dtype == other.threshold.dtype
        assert (proof.strict, proof.kernel) == (other.strict, other.kernel)
    held, found = tensors(a.graph), tensors(b.graph)
    assert held.keys() == found.keys() and all(torch.equal(held[path], found[path]) for path in held)


def assert_runs_alike(a: SpikingProgram, b: SpikingProgram) -> None:
    x = torch.rand(a.contract.batch_shape(5), generator=torch.Generator().manual_seed(0)).to(a.dtype)
    seen: list[tuple[str, int, Tensor, Tensor]] = []
    found: list[tuple[str, int, Tensor, Tensor]] = []
    assert torch.equal(a.run(x, lambda *step: seen.append(step)), b.run(x, lambda *step: found.append(step)))
    for one, other in zip(seen, found, strict=True):
        assert one[:2] == other[:2] and torch.equal(one[2], other[2]) and torch.equal(one[3], other[3])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_program_comes_back_with_its_source(name: str, tmp_path: Path) -> None:
    program, found = folded(name), back(archived(name), tmp_path)
    assert found.folded and not found.source.folded
    for a, b in ((program, found), (program.source, found.source)):
        assert_same_program(a, b)
        assert_runs_alike(a, b)


def test_a_program_that_is_not_folded_comes_back_without_source(tmp_path: Path) -> None:
    program = folded("per_channel").source
    save(program, tmp_path / "net.pt2")
    found = load(tmp_path / "net.pt2")
    assert not found.folded
    assert_same_program(program, found)
    assert_runs_alike(program, found)


def test_a_float64_program_stays_float64(tmp_path: Path) -> None:
    program = folded("plain").to(torch.float64)
    save(program, tmp_path / "net.pt2")
    found = load(tmp_path / "net.pt2")
    assert found.dtype == torch.float64
    assert_runs_alike(program, found)


def test_what_came_back_folds_and_exports_like_the_original(tmp_path: Path) -> None:
    program, found = folded("per_channel"), back(archived("per_channel"), tmp_path)
    assert_same_program(fold(found.source), program)
    torchscript = FORMATS["torchscript"]
    held = [torch.jit.load(io.BytesIO(encode(p, torchscript, "step"))) for p in (program, found)]
    a, b = (module.state_dict() for module in held)
    assert a.keys() == b.keys() and all(torch.equal(a[path], b[path]) for path in a)


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    save(folded("per_element"), tmp_path / "again.pt2")
    assert (tmp_path / "again.pt2").read_bytes() == archived("per_element")


def test_saving_what_came_back_gives_the_same_bytes(tmp_path: Path) -> None:
    save(back(archived("per_element"), tmp_path), tmp_path / "back.pt2")
    assert (tmp_path / "back.pt2").read_bytes() == archived("per_element")


IN_ANOTHER_PROCESS = """
import hashlib
from tests.ir import test_pt2 as t
print("digest", hashlib.sha256(t.archived("per_channel")).hexdigest())
"""


@pytest.mark.long
def test_another_process_gives_the_same_bytes() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert re.search(r"digest (\w+)", done.stdout).group(1) == hashlib.sha256(archived("per_channel")).hexdigest()


@pytest.mark.parametrize("name", NETWORKS)
def test_no_path_of_the_machine_is_inside(name: str) -> None:
    assert not [path for path in MACHINE for member in everything(archived(name)) if path in member]


def test_the_members_are_a_document_and_tensors_for_each_program() -> None:
    with zipfile.ZipFile(io.BytesIO(archived("plain"))) as archive:
        names = archive.namelist()
    assert names == ["program.json", "tensors.safetensors", "source/program.json", "source/tensors.safetensors"]


Nodes = list[dict[str, Any]]


def with_graph(change: Callable[[Nodes], None]) -> bytes:
    """An archive whose step graph was written by somebody else."""

    def edit(name: str, held: bytes) -> bytes:
        if name != "program.json":
            return held
        manifest = json.loads(held)
        change(manifest["graph"])
        return json.dumps(manifest).encode()

    return changed(archived("plain"), edit)


def first(nodes: Nodes, op: str) -> dict[str, Any]:
    return next(node for node in nodes if node["op"] == op)


FOREIGN = [
    "os.system.default",
    "aten.from_file.default",
    "aten.add_.Tensor",
    "aten.nothing.default",
    "aten.__class__.mro",
    "aten",
]


@pytest.mark.parametrize("target", FOREIGN)
def test_an_operator_that_is_not_torchs_own_and_pure_is_refused(target: str, tmp_path: Path) -> None:
    content = with_graph(lambda nodes: first(nodes, "call_function").update(target=target))
    with pytest.raises(Refused, match="not one of torch's own pure operators; snnconv never runs code from a file"):
        back(content, tmp_path)


def code(folder: Path) -> str:
    return f"__import__('pathlib').Path('{folder / 'ran'}').touch()"


SMUGGLED: dict[str, Callable[[Nodes, str], None]] = {
    "name": lambda nodes, code: first(nodes, "placeholder").update(name=code),
    "default of a name": lambda nodes, code: first(nodes, "placeholder").update(name=f"x={code}"),
    "path": lambda nodes, code: first(nodes, "get_attr").update(target=code),
    "argument": lambda nodes, code: first(nodes, "call_function")["args"].append({"dtype": code}),
    "kind of node": lambda nodes, code: first(nodes, "call_function").update(op="call_module"),
    "size": lambda nodes, code: first(nodes, "placeholder").update(shape=[code]),
}


@pytest.mark.parametrize("place", SMUGGLED)
def test_code_in_a_graph_is_an_error_and_never_run(place: str, tmp_path: Path) -> None:
    content = with_graph(lambda nodes: SMUGGLED[place](nodes, code(tmp_path)))
    with pytest.raises(InputError, match=r"damaged|truncated"):
        back(content, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_operator_of_the_user_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"snnconv_tests\.third\.default, which is not one of torch's own operators"):
        save(program_of(Foreign()), tmp_path / "net.pt2")


def empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


def test_a_file_that_is_none_of_ours_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an snnconv program"):
        back(b"not a zip at all", tmp_path)
    with pytest.raises(InputError, match=r"not an snnconv program; make one with: snnconv fold"):
        back(empty_zip(), tmp_path)
    with pytest.raises(InputError, match=r"gone\.pt2"):
        load(tmp_path / "gone.pt2")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_input_error(share: float, tmp_path: Path) -> None:
    content = archived("plain")
    with pytest.raises(InputError, match="truncated"):
        back(content[: int(len(content) * share)], tmp_path)


def test_a_flipped_bit_is_an_input_error(tmp_path: Path) -> None:
    content = bytearray(archived("plain"))
    content[len(content) // 2] ^= 1
    with pytest.raises(InputError, match="is damaged"):
        back(bytes(content), tmp_path)


def test_another_format_number_is_an_input_error(tmp_path: Path) -> None:
    def renumber(name: str, held: bytes) -> bytes:
        return held.replace(b'"format": 2', b'"format": 99') if name.endswith(".json") else held

    with pytest.raises(InputError, match="format 99, but this snnconv reads 1 and 2"):
        back(changed(archived("plain"), renumber), tmp_path)


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    def renumber(name: str, held: bytes) -> bytes:
        return held.replace(b'"format": 2', b'"format": 1') if name.endswith(".json") else held

    assert_same_program(back(changed(archived("plain"), renumber), tmp_path), folded("plain"))


class Nested(nn.Module):
    """Holds layers of one name at the top and inside a submodule called `net`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.net = nn.Conv2d(2, 2, 3, padding=1), LIF(), nn.Module()
        self.net.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.conv(self.act(self.conv(x))).flatten(1)


def test_a_submodule_called_net_keeps_its_weights(tmp_path: Path) -> None:
    program = program_of(trained(Nested()))
    save(program, tmp_path / "net.pt2")
    found = load(tmp_path / "net.pt2")
    assert_same_program(program, found)
    assert_runs_alike(program, found)


@pytest.mark.parametrize("name", ["a-b", "a b", "größe", "3x3"])
def test_a_layer_of_any_readable_name_comes_back(name: str, tmp_path: Path) -> None:
    program = program_of(Named(name))
    save(program, tmp_path / "net.pt2")
    assert_runs_alike(program, load(tmp_path / "net.pt2"))


MALFORMED: dict[str, Callable[[Nodes], None]] = {
    "a keyword for a name": lambda nodes: first(nodes, "placeholder").update(name="lambda"),
    "one name for two inputs": lambda nodes: [node for node in nodes if node["op"] == "placeholder"][1].update(name="x"),
    "code for an option": lambda nodes: first(nodes, "call_function")["kwargs"].update({"groups=1, x": 1}),
    "a neuron that is not listed": lambda nodes: neuron_of(nodes)["args"].__setitem__(2, "nobody"),
    "a neuron without a name": lambda nodes: neuron_of(nodes)["args"].pop(),
}


def neuron_of(nodes: Nodes) -> dict[str, Any]:
    return next(node for node in nodes if "neuron" in str(node["target"]))


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_graph_is_an_input_error(fault: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        back(with_graph(MALFORMED[fault]), tmp_path)
