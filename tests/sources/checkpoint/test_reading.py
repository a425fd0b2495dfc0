"""The format of a file is told by its content: what can be read gives the same tensors, all else is named with what to do."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from snnconv.errors import InputError
from snnconv.sources.checkpoint import read_checkpoint
from tests.sources.checkpoint.files import loaded, same, saved, state


def torch_bytes(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


READ: dict[str, Callable[[], bytes]] = {
    "torch": lambda: torch_bytes(state()),
    "torch of before 1.6": lambda: torch_bytes(state(), _use_new_zipfile_serialization=False),
    "torch with pickle 4": lambda: torch_bytes(state(), pickle_protocol=4),
    "safetensors": lambda: save_safetensors(state()),
    "pickle 2": lambda: pickle.dumps(state(), 2),
    "pickle 5": lambda: pickle.dumps(state(), 5),
    "numpy in torch": lambda: torch_bytes({key: value.numpy() for key, value in state().items()}),
    "numpy in pickle 2": lambda: pickle.dumps({key: value.numpy() for key, value in state().items()}, 2),
    "numpy in pickle 5": lambda: pickle.dumps({key: value.numpy() for key, value in state().items()}, 5),
    "numpy in the order of Fortran": lambda: pickle.dumps({k: v.numpy().copy(order="F") for k, v in state().items()}),
    "numpy, big-endian": lambda: pickle.dumps(
        {k: v.numpy().astype(v.numpy().dtype.newbyteorder(">")) for k, v in state().items()}
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt", ".onnx", ""])
@pytest.mark.parametrize("kind", READ)
def test_a_file_is_read_whatever_its_suffix(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(READ[kind]())
    read = loaded(path)
    assert same(read.tensors, state())
    assert read.notes == (("arrays of numpy read as tensors",) if "numpy" in kind else ())


def test_views_of_one_storage_are_read_from_a_file_of_before_1_6(tmp_path: Path) -> None:
    path, whole = tmp_path / "net.pth", torch.arange(24.0)
    held = {"a": whole[4:10].view(2, 3), "b": whole.view(4, 6).T, "c": whole[::5]}
    torch.save(held, path, _use_new_zipfile_serialization=False)
    assert same(loaded(path, held).tensors, held)


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("net.pth"))
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), buffer)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value.numpy() for key, value in state().items()})
    return buffer.getvalue()


def onnx_file() -> bytes:
    import onnx

    graph = onnx.helper.make_graph([], "g", [], [])
    return onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString()


NAMED: dict[str, tuple[Callable[[], bytes], str]] = {
    "TorchScript": (torchscript, "a TorchScript artifact, no checkpoint; name the file that it was made from"),
    "ONNX": (onnx_file, "an ONNX artifact, no checkpoint; name the file that it was made from"),
    "zip": (lambda: zipped(readme=b"x"), "a zip archive of other files, no checkpoint; unpack it first: unzip"),
    "npz": (npz, r"arrays of numpy \(.npz\), no checkpoint; save them with torch.save"),
    "gzip": (lambda: gzip.compress(torch_bytes(state())), "gzipped, no checkpoint; unpack it first: gunzip"),
    "bzip2": (lambda: bz2.compress(torch_bytes(state())), "packed by bzip2, no checkpoint; unpack it first: bunzip2"),
    "xz": (lambda: lzma.compress(torch_bytes(state())), "packed by xz, no checkpoint; unpack it first: unxz"),
    "tar": (tar, "a tar archive, no checkpoint; unpack it first: tar xf"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, no checkpoint"),
    "LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n", "a Git LFS pointer.*git lfs pull"),
    "HTML": (lambda: b"\n<!DOCTYPE html>\n<html></html>", r"a web page \(HTML\), no checkpoint; the download gave a page"),
    "XML": (lambda: b"<?xml version='1.0'?><Error/>", "a text in XML, no checkpoint"),
    "JSON": (lambda: b'{"lr": 0.1}', "a text in JSON, no checkpoint; pass the file that holds the tensors"),
    "text": (lambda: b"epoch 1, loss 0.7\n", r"not a checkpoint \(neither a torch file nor a pickle\)"),
    "truncated torch": (lambda: torch_bytes(state())[:-200], "cannot be read as a torch checkpoint, it may be truncated"),
    "truncated torch of before 1.6": (
        lambda: torch_bytes(state(), _use_new_zipfile_serialization=False)[:-5],
        r"it may be truncated \(the file ends within a tensor\)",
    ),
    "truncated safetensors": (lambda: save_safetensors(state())[:-9], "not a safetensors file, or truncated"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", NAMED)
def test_a_file_of_another_format_is_named_whatever_its_suffix(kind: str, suffix: str, tmp_path: Path) -> None:
    content, words = NAMED[kind]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content())
    with pytest.raises(InputError, match="not a safetensors file" if (kind, suffix) == ("text", ".safetensors") else words):
        read_checkpoint(path)


def test_the_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    assert read_checkpoint(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_replaced_after_it_was_read_changes_nothing(tmp_path: Path) -> None:
    from snnconv.sources import SourceOptions
    from snnconv.sources.checkpoint import Wanted, fit, take

    path = saved(tmp_path, state())
    checkpoint = read_checkpoint(path)
    saved(tmp_path, state(2.0))
    wanted = Wanted({key: tuple(value.shape) for key, value in state().items()})
    found = take(checkpoint, fit(checkpoint, wanted, SourceOptions()), SourceOptions())
    assert same(found.tensors, state())


def test_a_damaged_tensor_is_found_by_the_checksum_of_the_archive(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    content = bytearray(path.read_bytes())
    at = content.index(state()["conv1.weight"].numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"net\.pth: is damaged \(Bad CRC-32"):
        loaded(path)


def test_a_member_that_stands_there_twice_is_damage(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"")
    with pytest.raises(InputError, match="a member stands there twice"):
        read_checkpoint(path)


def test_numbers_of_a_big_endian_machine_are_not_taken_for_others(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(saved(tmp_path, state(), "little.pth")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    with pytest.raises(InputError, match="its numbers are big-endian"):
        read_checkpoint(path)


# Sizes that a file claims.


def test_a_tensor_may_not_claim_far_more_than_the_file_holds(tmp_path: Path) -> None:
    held = {"weight": torch.zeros(1).expand(10**6, 10**6), "bias": torch.zeros(3)}
    with pytest.raises(InputError, match=r"net\.pth: is damaged \(its contents claim 4000000000012 bytes, but the file holds"):
        loaded(saved(tmp_path, held), held)


def test_a_small_tensor_may_repeat_its_values(tmp_path: Path) -> None:
    held = {"weight": torch.ones(1).expand(64)}
    assert torch.equal(loaded(saved(tmp_path, held), held).tensors["weight"], torch.ones(64))


def test_a_compressed_archive_may_not_claim_far_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**27))
    with pytest.raises(InputError, match=r"cannot be read .* \(its contents claim 134217728 bytes"):
        read_checkpoint(path)


# Several files.


def sharded(folder: Path, write: Callable[[dict, Path], object], suffix: str) -> Path:
    items = list(state().items())
    parts = {f"net-0000{i}-of-00002.{suffix}": dict(items[i - 1 :: 2]) for i in (1, 2)}
    for name, part in parts.items():
        write(part, folder / name)
    index = folder / f"net.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {key: name for name, part in parts.items() for key in part}}))
    return index


SHARDS: dict[str, Callable[[dict, Path], object]] = {
    "safetensors": lambda part, path: path.write_bytes(save_safetensors(part)),
    "bin": lambda part, path: torch.save(part, path),
}


@pytest.mark.parametrize("suffix", SHARDS)
def test_shards_are_read_by_their_index(suffix: str, tmp_path: Path) -> None:
    index = sharded(tmp_path, SHARDS[suffix], suffix)
    assert same(loaded(index).tensors, state())
    whole = b"".join(path.read_bytes() for path in (index, *sorted(tmp_path.glob("net-*"))))
    assert read_checkpoint(index).sha256 == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("suffix", SHARDS)
def test_a_shard_that_is_missing_or_another_is_named(suffix: str, tmp_path: Path) -> None:
    index = sharded(tmp_path, SHARDS[suffix], suffix)
    second = tmp_path / f"net-00002-of-00002.{suffix}"
    SHARDS[suffix]({"other": torch.zeros(3)}, second)
    with pytest.raises(InputError, match=r"the shard net-00002-of-00002.* does not hold the tensors that the index lists"):
        read_checkpoint(index)
    second.unlink()
    with pytest.raises(InputError, match=r"net-00002-of-00002.*: no such file"):
        read_checkpoint(index)


def test_a_shard_alone_says_that_there_are_more(tmp_path: Path) -> None:
    sharded(tmp_path, SHARDS["safetensors"], "safetensors")
    with pytest.raises(InputError, match=r"missing .*; it is one shard of several: name their index"):
        loaded(tmp_path / "net-00001-of-00002.safetensors")


@pytest.mark.parametrize("name", ["../net.pth", "/etc/passwd", "a/b.pth", "", 3])
def test_an_index_names_no_file_elsewhere(name: object, tmp_path: Path) -> None:
    path = tmp_path / "net.index.json"
    path.write_text(json.dumps({"weight_map": {"weight": name}}))
    with pytest.raises(InputError, match="shards stand beside their index"):
        read_checkpoint(path)
