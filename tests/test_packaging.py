"""A wheel holds snnconv and nothing else, and its command runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLEAN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source")
    for name in ("snnconv", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_snnconv_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    assert top == {"snnconv"}


def test_the_command_runs_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import snnconv.cli, snnconv, sys; print(snnconv.cli.__file__); from snnconv.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--version"]
    done = subprocess.run(
        command, env={**CLEAN, "PYTHONPATH": str(tmp_path)}, cwd="/", capture_output=True, text=True, check=True
    )
    first, version = done.stdout.splitlines()
    assert Path(first).is_relative_to(tmp_path)
    assert version.startswith("snnconv ")
