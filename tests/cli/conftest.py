"""Exports of the one small network that every command works on."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from snnconv.artifact.formats import Export
from snnconv.export import onnx
from snnconv.ir import pt2

_made: dict[Any, bytes] = {}


@pytest.fixture(autouse=True)
def _what_is_exported_to_onnx_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's exporter takes most of the time of a command, and what it makes follows from the program alone."""

    def encode(export: Export) -> bytes:
        key = sha256(pt2.encode(export.program)).digest(), export.form, export.batch, json.dumps(export.metadata)
        if key not in _made:
            _made[key] = onnx.to_onnx(export)
        return _made[key]

    monkeypatch.setattr(onnx, "FORMAT", replace(onnx.FORMAT, encode=encode))
