"""A checkpoint in several files, and the index that says which tensor is in which, as in `model.safetensors.index.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from snnconv.errors import InputError
from snnconv.files import Content, read
from snnconv.sources.checkpoint.reading import json_in, read_value

_COMPLETE = "copy the index and all of its shards into one folder"


def shards_of(content: Content) -> dict[str, list[str]]:
    """The names of the shards that an index lists, each with the keys it should hold; empty if it is no index.

    Raises `InputError` for a shard outside the folder of the index.
    """
    index = json_in(content) if content.data.lstrip()[:1] == b"{" else None
    weight_map = index.get("weight_map") if isinstance(index, Mapping) else None
    shards: dict[str, list[str]] = {}
    for key, name in weight_map.items() if isinstance(weight_map, Mapping) else ():
        if not isinstance(name, str) or not name or PurePath(name).name != name:
            raise InputError(f"{content.path}: the index names {name!r} as a shard", "shards stand beside their index")
        shards.setdefault(name, []).append(key)
    return dict(sorted(shards.items()))


def read_shards(content: Content, shards: Mapping[str, list[str]]) -> tuple[dict[str, Any], list[Content]]:
    """The tensors of all shards by their keys, and the contents of the files. Raises `InputError` if the index does not fit."""
    tensors: dict[str, Any] = {}
    contents = []
    for name, keys in shards.items():
        contents.append(read(content.path.parent / name))
        value = read_value(contents[-1])
        if not isinstance(value, Mapping) or set(value) != set(keys):
            raise InputError(f"{content.path}: the shard {name} does not hold the tensors that the index lists", _COMPLETE)
        tensors.update(value)
    return tensors, contents
