"""The commands work on one small network, which is exported to ONNX once."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _exported_once(exported_once: None) -> None:
    """Almost all of their time went into the same few exports."""
