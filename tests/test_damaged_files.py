"""Damage anywhere in a file is an error that says so, or a verdict: never a crash. Seeded, through the Python API."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import save

from snnconv.config import read_policy, read_settings
from snnconv.engines import Deployment, open_content
from snnconv.errors import InputError, SnnconvError
from snnconv.export import encode, format_of
from snnconv.files import Content
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram
from snnconv.report.json import render_json
from snnconv.results.document import verification_report
from snnconv.results.reading import read_results
from snnconv.results.verdict import judge
from snnconv.sources import SourceOptions
from snnconv.sources.checkpoint import Wanted, fit, read_checkpoint, take
from snnconv.verify import Reference
from snnconv.verify.graph import admitted, check_graph
from snnconv.verify.stored import check_stored
from tests.networks import per_channel, source_of
from tests.report.examples import BAD, GOOD

SEEDS = 16
DEEP = "[" * 100_000 + "]" * 100_000


@cache
def reference() -> Reference:
    return Reference(source_of(per_channel()))


def folded() -> SpikingProgram:
    return reference().folded


@cache
def sound(name: str) -> bytes:
    if name == "net.pt2":
        return pt2.encode(folded())
    if name == "net.safetensors":
        return save(per_channel().state_dict())
    if name == "report.json":
        return render_json(verification_report([judge(GOOD), judge(BAD)])).encode()
    if name == "settings.toml":
        return b'timesteps = 4\ninput = "static"\nshape = [2, 8, 8]\n[verify]\nagreement = 0.99\n'
    if name.endswith(".pth"):
        buffer = io.BytesIO()
        torch.save(per_channel().state_dict(), buffer, _use_new_zipfile_serialization=name != "old.pth")
        return buffer.getvalue()
    return encode(folded(), format_of(Path(name)))


def use(path: Path, content: bytes) -> object:
    """Open a file and do with it what comes first."""
    path.write_bytes(content)
    if path.suffix in (".onnx", ".ts", ".pt2"):
        candidate = admitted(reference(), open_content(Content(path, content)), path.name, trusted=False)
        return candidate.constants(), check_graph(reference(), candidate), check_stored(folded(), candidate)
    if path.suffix in (".pth", ".safetensors"):
        state = per_channel().state_dict()
        checkpoint, options = read_checkpoint(path), SourceOptions()
        return take(
            checkpoint, fit(checkpoint, Wanted({key: tuple(value.shape) for key, value in state.items()}), options), options
        )
    return read_results(path) if path.suffix == ".json" else (read_settings(path), read_policy([], path))


def damaged(content: bytes, rng: Random) -> bytes:
    """A bit flipped, bytes overwritten, cut out, put in or doubled, or the end gone."""
    changed, at = bytearray(content), rng.randrange(len(content))
    how = rng.choice(["flip", "flip", "flip", "overwrite", "cut", "insert", "double", "truncate"])
    if how == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    elif how == "overwrite":
        changed[at : at + 8] = b"\xff" * 8
    elif how == "cut":
        del changed[at : at + rng.choice([1, 4, 64])]
    elif how == "insert":
        changed[at:at] = rng.randbytes(rng.choice([1, 8, 64]))
    elif how == "double":
        changed[at:at] = changed[at : at + 64]
    else:
        del changed[at:]
    return bytes(changed)


def member_damaged(archive: bytes, rng: Random) -> bytes:
    """Damage to one member, of which the checksum is right again."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    name = rng.choice([name for name, content in members.items() if content])
    members[name] = damaged(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return buffer.getvalue()


FILES = ["net.onnx", "net.ts", "net.pt2", "net.pth", "old.pth", "net.safetensors", "report.json", "settings.toml"]
ARCHIVES = ["net.ts", "net.pt2", "net.pth"]


@pytest.mark.parametrize(
    ("name", "damage"), [*((name, damaged) for name in FILES), *((name, member_damaged) for name in ARCHIVES)]
)
def test_damage_is_an_error_of_the_file_or_a_verdict(name: str, damage: Callable[[bytes, Random], bytes], tmp_path: Path) -> None:
    for seed in range(SEEDS):
        try:
            use(tmp_path / name, damage(sound(name), Random(f"{name} {seed}")))
        except SnnconvError as error:
            assert error.exit_code in (2, 3)


def test_a_name_in_an_onnx_file_that_is_no_text_is_damage() -> None:
    data = sound("net.onnx")
    assert b"act1.potential.0" in data
    with pytest.raises(InputError, match=r"not an ONNX file, or truncated \(b'\\xffct1.potential.0' is no text\)"):
        open_content(Content(Path("net.onnx"), data.replace(b"act1.potential.0", b"\xffct1.potential.0")))


# ONNX tensors that are not what they say.


def tensor(change: Callable[[Any], object]) -> Callable[[], bytes]:
    def made() -> bytes:
        model = onnx.load_model_from_string(sound("net.onnx"))
        change(next(t for t in model.graph.initializer if t.name == "conv1.bias"))
        return model.SerializeToString()

    return made


def in_a_branch() -> bytes:
    """A tensor in an attribute, in a graph that is an attribute."""
    broken = onnx.TensorProto(name="inner", data_type=1, dims=[3], raw_data=b"1234")
    node = onnx.helper.make_node("Constant", [], ["c"], value=broken)
    graph = onnx.helper.make_graph([node], "g", [], [onnx.helper.make_tensor_value_info("c", 1, [3])])
    model = onnx.load_model_from_string(sound("net.onnx"))
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], then_branch=graph, else_branch=graph))
    return model.SerializeToString()


@pytest.mark.parametrize(
    "made",
    [
        tensor(lambda t: setattr(t, "raw_data", t.raw_data[:-1])),
        tensor(lambda t: setattr(t, "raw_data", t.raw_data + b"1234")),
        tensor(lambda t: t.ClearField("raw_data")),
        tensor(lambda t: t.float_data.append(1.0)),
        tensor(lambda t: t.dims.append(2)),
        tensor(lambda t: t.dims.append(-1)),
        tensor(lambda t: t.dims.__setitem__(0, -6)),
        tensor(lambda t: t.dims.__setitem__(0, 10**12)),
        *(tensor(lambda t, kind=kind: setattr(t, "data_type", kind)) for kind in (0, 7, 8, 11, 14, 16, 17, 23, 99)),
        in_a_branch,
    ],
)
def test_an_onnx_tensor_that_is_not_what_it_says_is_named(made: Callable[[], bytes]) -> None:
    with pytest.raises(
        InputError, match=r"its tensor '(conv1\.bias|inner)' is damaged \(of type|its values twice|its dimensions"
    ):
        open_content(Content(Path("net.onnx"), made()))


def test_weights_outside_of_the_file_are_refused() -> None:
    def outside(t: Any) -> None:
        t.ClearField("raw_data")
        t.data_location = onnx.TensorProto.EXTERNAL
        t.external_data.add(key="location", value="weights.bin")

    with pytest.raises(InputError, match=r"keeps 'conv1\.bias' in another file.*save it as one file"):
        open_content(Content(Path("net.onnx"), tensor(outside)()))


# Metadata.


def with_metadata(name: str, text: str) -> bytes:
    if name == "net.onnx":
        model = onnx.load_model_from_string(sound(name))
        model.metadata_props[0].value = text
        return model.SerializeToString()
    with zipfile.ZipFile(io.BytesIO(sound(name))) as old:
        members = {member: old.read(member) for member in old.namelist()}
    member = next(member for member in members if member.endswith(("snnconv.json", "program.json")))
    members[member] = text.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for member, content in members.items():
            new.writestr(member, content)
    return buffer.getvalue()


def metadata(name: str) -> dict[str, Any]:
    if name == "net.onnx":
        return json.loads(onnx.load_model_from_string(sound(name)).metadata_props[0].value)
    with zipfile.ZipFile(io.BytesIO(sound(name))) as archive:
        member = next(member for member in archive.namelist() if member.endswith(("snnconv.json", "program.json")))
        return json.loads(archive.read(member))


def opened(name: str, text: str) -> Deployment:
    return open_content(Content(Path(name), with_metadata(name, text)))


@pytest.mark.parametrize(("name", "known"), [("net.onnx", "1"), ("net.ts", "1"), ("net.pt2", "1 and 2")])
def test_an_artifact_of_a_newer_format_is_refused_by_name(name: str, known: str) -> None:
    with pytest.raises(InputError, match=f"format 3, but this snnconv reads {known}; use the snnconv that wrote it"):
        opened(name, json.dumps({**metadata(name), "format": 3}))


@pytest.mark.parametrize("name", ["net.onnx", "net.ts", "net.pt2"])
@pytest.mark.parametrize("text", [DEEP, "{", "[]", "null", '{"format": 1}', '{"format": "\\ud800"}', "NaN"])
def test_metadata_that_nobody_can_read_is_damage(name: str, text: str) -> None:
    with pytest.raises(InputError, match=r"damaged|format"):
        opened(name, text)


@pytest.mark.parametrize("value", [None, -1, 10**30, "x", [], {}, float("inf")])
def test_odd_values_in_metadata_are_damage_or_another_contract(value: object) -> None:
    for key in ("timesteps", "input_shape", "event", "readout"):
        told = metadata("net.onnx")
        told["contract"][key] = value
        try:
            assert isinstance(opened("net.onnx", json.dumps(told)), Deployment)
        except InputError as error:
            assert "damaged" in str(error)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", DEEP),
        ("report.json", '{"schema": 2, "command": "verify", "results": ' + DEEP + "}"),
        ("settings.toml", f"a = {DEEP}"),
        ("settings.toml", "a" + ".a" * 100_000 + " = 1"),
    ],
)
def test_what_is_nested_too_deep_is_an_error(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name):
        use(tmp_path / name, content.encode())
