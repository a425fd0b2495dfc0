"""The recipes of docs/contributing work: together, applied to a copy of the repository, their tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.recipes import RECIPES, ROOT, blocks, in_tree


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the changes of every recipe in it."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "snnconv", folder / "snnconv", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for recipe in RECIPES:
        for block in in_tree(recipe):
            block.apply(folder)
    return folder


@pytest.mark.long
def test_the_tests_of_every_recipe_pass(repository: Path) -> None:
    tests = [block.path for recipe in RECIPES for block in in_tree(recipe) if block.path.startswith("tests/")]
    command = [sys.executable, "-m", "pytest", *tests]
    done = subprocess.run(
        command, cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_has_a_test_and_a_change_of_a_registry(recipe: str) -> None:
    shown = list(blocks(recipe))
    assert any(block.path.startswith("tests/") for block in shown)
    assert any("project.entry-points" in block.text for block in shown)
    assert any(block.kind == "diff" for block in shown) or recipe == "adapter"
