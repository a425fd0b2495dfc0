"""Shared set-up: one thread a worker, and the golden checkpoint where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the checkpoint that the MPBN authors' code trained; tests that need it skip where it is absent."""
    if not (GOLDEN / "mpbn_res20m.pth").is_file():
        pytest.skip(f"no golden checkpoint: ../shared/{GOLDEN.name}/mpbn_res20m.pth is absent")
    return GOLDEN
