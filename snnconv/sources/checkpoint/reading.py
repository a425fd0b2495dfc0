"""The formats of files, told apart by their content and never by their suffix: how each is read, or what to do instead.

A format is one entry of `_FORMATS`; the first that a file has is taken.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snnconv.errors import InputError
from snnconv.files import Content, parse_json, reading
from snnconv.sources.checkpoint import torch_files
from snnconv.sources.checkpoint.soundness import DAMAGED
from snnconv.sources.checkpoint.values import stored

_HEAD = 512
_UNREADABLE = "cannot be read as a torch checkpoint, it may be truncated"
_NO_SAFETENSORS = "not a safetensors file, or truncated"
_RESAVE_ARRAYS = "torch.save({key: torch.from_numpy(a) for key, a in numpy.load(FILE).items()}, NEW)"


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        has: whether a file has it, from its first bytes and all of its content.
        what: what it is, in the words of an error.
        todo: what to do instead, if it is not read.
        read: gives the value in a content, or raises any error if it is damaged. None if it is not read.
    """

    has: Callable[[bytes, Content], bool]
    what: str
    todo: str = ""
    read: Callable[[Content], Any] | None = None


def read_value(content: Content) -> Any:
    """The value in a file: plain data, `Stored` and `Inert`. Raises `InputError` if it has none or is damaged."""
    head = content.data[:_HEAD]
    found = next((format for format in _FORMATS if format.has(head, content)), None)
    if found is None:
        raise InputError(f"{content.path}: not a checkpoint (neither a torch file nor a pickle)", DAMAGED)
    if found.read is None:
        raise InputError(f"{content.path}: {found.what}, no checkpoint", found.todo)
    with reading(content.path, found.what, DAMAGED):
        return found.read(content)


def _is_json(head: bytes, content: Content) -> bool:
    return head.lstrip()[:1] in (b"{", b"[") and json_in(content) is not None


def json_in(content: Content) -> Any:
    """The value of a JSON text; None if it is none."""
    try:
        return parse_json(content.data)
    except ValueError:
        return None


def _begins(*starts: bytes) -> Callable[[bytes, Content], bool]:
    return lambda head, _: head.startswith(starts)


def _is_text_of(*starts: bytes) -> Callable[[bytes, Content], bool]:
    return lambda head, _: head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(starts)


def _is_zip_with(*ends: str) -> Callable[[bytes, Content], bool]:
    """Whether it is an archive with members that end so, one for each of `ends`."""

    def has(head: bytes, content: Content) -> bool:
        names = _members(content) if head.startswith(b"PK") else []
        return bool(names) and all(any(f"/{name}".endswith(end) for name in names) for end in ends)

    return has


def _members(content: Content) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content.data)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error):
        return []


def _is_whole_zip(head: bytes, content: Content) -> bool:
    return head.startswith(b"PK") and bool(_members(content))


def _is_safetensors(head: bytes, content: Content) -> bool:
    """Whether it begins as safetensors do: the size of the header, and the header in JSON."""
    return head[8:9] == b"{" and _SIZE.unpack_from(head)[0] < _LARGEST_HEADER


def _read_safetensors(content: Content) -> Any:
    from safetensors.torch import load

    return {key: stored(tensor) for key, tensor in load(content.data).items()}


def _is_pickle(head: bytes, content: Content) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _is_onnx(head: bytes, content: Content) -> bool:
    """Whether it begins as ONNX files do: the version of the format, then the name of what wrote it, or the graph."""
    return len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 64 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)


_SIZE = struct.Struct("<Q")
_LARGEST_HEADER = 10**8
_ARTIFACT = "name the file that it was made from"
_UNPACK = "unpack it first: {} gives the checkpoint in it"
_DOWNLOAD = "the download gave a page instead of the file; fetch the file itself"
_FORMATS = (
    Format(_is_zip_with("/constants.pkl", "/data.pkl"), "a TorchScript artifact", _ARTIFACT),
    Format(_is_zip_with("/data.pkl"), _UNREADABLE, read=lambda content: torch_files.read_zip(content.data)),
    Format(_is_zip_with("/models/model.json"), "a program of torch.export (.pt2)", "name it .pt2 if snnconv made it"),
    Format(_is_zip_with(".npy"), "arrays of numpy (.npz)", f"save them with {_RESAVE_ARRAYS}"),
    Format(_is_zip_with("/model.weights.h5"), "a model of Keras", "snnconv reads weights of torch"),
    Format(_is_whole_zip, "a zip archive of other files", _UNPACK.format("unzip")),
    Format(_begins(b"PK\x03\x04"), _UNREADABLE, read=lambda content: torch_files.read_zip(content.data)),
    Format(_is_safetensors, _NO_SAFETENSORS, read=_read_safetensors),
    Format(_is_pickle, _UNREADABLE, read=lambda content: torch_files.read_pickles(content.data)),
    Format(_begins(b"\x1f\x8b"), "gzipped", _UNPACK.format("gunzip")),
    Format(_begins(b"BZh"), "packed by bzip2", _UNPACK.format("bunzip2")),
    Format(_begins(b"\xfd7zXZ\0"), "packed by xz", _UNPACK.format("unxz")),
    Format(_begins(b"\x28\xb5\x2f\xfd"), "packed by zstd", _UNPACK.format("unzstd")),
    Format(_begins(b"7z\xbc\xaf\x27\x1c"), "a 7z archive", _UNPACK.format("7z x")),
    Format(_begins(b"Rar!"), "a rar archive", _UNPACK.format("unrar x")),
    Format(lambda head, _: head[257:262] == b"ustar", "a tar archive", _UNPACK.format("tar xf")),
    Format(_begins(b"\x93NUMPY"), "an array of numpy (.npy)", "save the state-dict with torch.save(model.state_dict(), FILE)"),
    Format(_begins(b"\x89HDF"), "an HDF5 file", "snnconv reads weights of torch: torch.save(model.state_dict(), FILE)"),
    Format(_begins(b"GGUF"), "a GGUF file", "snnconv reads weights of torch: torch.save(model.state_dict(), FILE)"),
    Format(_begins(b"version https://git-lfs"), "a Git LFS pointer", "fetch the file with git lfs pull"),
    Format(_is_text_of(b"<!doctype html", b"<html", b"<head"), "a web page (HTML)", _DOWNLOAD),
    Format(_is_text_of(b"<?xml"), "a text in XML", _DOWNLOAD),
    Format(_is_json, "a text in JSON", "pass the file that holds the tensors"),
    Format(_is_onnx, "an ONNX artifact", _ARTIFACT),
    Format(lambda _, content: content.path.suffix == ".safetensors", _NO_SAFETENSORS, read=_read_safetensors),
)
