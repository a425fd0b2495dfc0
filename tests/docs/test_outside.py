"""A package from outside adds an engine, a report and an operator by its entry points, and one command uses all three."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.recipes import block

NETWORK = """
import torch
from snnconv.nn import LIF


class Net(torch.nn.Module):
    timesteps, input_shape = 2, (2, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = torch.nn.Conv2d(2, 4, 3), LIF(threshold=0.3), torch.nn.Linear(4 * 6 * 6, 5)

    def forward(self, x):
        return self.head(self.act(torch.sin(self.conv(x))).flatten(1))
"""
SAVE = "import torch, my_package.network as n; torch.manual_seed(0); torch.save(n.Net().state_dict(), 'net.pth')"
FILES = {
    "onnx_evaluator": ("engine", "snnconv/engines/onnx_evaluator.py"),
    "csv_table": ("report", "snnconv/report/csv_table.py"),
    "operators": ("operator", "my_package/operators.py"),
}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the package of the recipes, as pip leaves it, and a checkpoint and data beside it."""
    package, information = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    information.mkdir()
    (package / "__init__.py").touch()
    (package / "network.py").write_text(NETWORK)
    entries = ""
    for name, (recipe, path) in FILES.items():
        (package / f"{name}.py").write_text(block(recipe, path).text)
        entries += (
            block(recipe, "pyproject.toml").text.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
        )
    (information / "entry_points.txt").write_text(entries)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    ran(tmp_path, "-c", SAVE)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((3, 2, 8, 8), np.float32))
    return tmp_path


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in that folder, with the package installed."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_its_engine_runs_its_report_is_written_and_its_operator_is_bounded(installed: Path) -> None:
    source = ("net.pth", "--arch", "my_package.network:Net", "--data", "x.npz")
    converted = ran(installed, "-m", "snnconv", "convert", *source, "-o", "net.onnx", "--report", "net.csv", "--json")
    assert converted.returncode == 0, converted.stderr
    (candidate,) = json.loads(converted.stdout)["results"]
    assert [layer["measured"] for layer in candidate["layers"] if layer["name"] == "act"] == [False]
    with (installed / "net.csv").open(newline="") as file:
        assert [row["layer"] for row in csv.DictReader(file)] == [layer["name"] for layer in candidate["layers"]]
    verified = ran(
        installed, "-m", "snnconv", "verify", *source[:1], "net.onnx", *source[1:], "--engine", "onnx-evaluator", "--json"
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (candidate,) = json.loads(verified.stdout)["results"]
    assert candidate["runtime"].startswith("ONNX reference evaluator")
    assert {check["level"] for check in candidate["checks"] if check["open"] == "not checked"} >= {"deployment", "algebra"}
    assert candidate["task"]["samples"] == 3
