"""The project's own workflows and metadata: valid, and of one mind about versions, Pythons and tags."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import snnconv

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / ".github" / "workflows" / name).read_text())


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def lines(file: str) -> str:
    return (ROOT / file).read_text()


def test_the_workflows_are_valid() -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    assert len(WORKFLOWS) == 2
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        done = subprocess.run([tool, "--builtin-schema", schema, *WORKFLOWS], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [path.name for path in WORKFLOWS])
def test_a_workflow_may_only_read_unless_a_job_says_otherwise_and_pins_its_actions(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {"contents": "read"}
    for uses in (step["uses"] for step in steps(workflow) if "uses" in step):
        assert re.fullmatch(r"[\w./-]+@v\d+", uses)


def test_the_tests_run_on_three_systems_and_every_python_that_is_claimed() -> None:
    matrix = read("ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    claimed = [found[1] for line in PROJECT["classifiers"] if (found := re.fullmatch(r".*Python :: (3\.\d+)", line))]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_the_workflow_needs_no_make() -> None:
    assert not any(re.search(r"\bmake\b", step.get("run", "")) for step in steps(read("ci.yml")))


def test_what_the_workflow_lints_with_is_what_make_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", lines("Makefile"), re.MULTILINE)
    assert recipe is not None
    wanted = [line.strip().removeprefix("$(BIN)/") for line in recipe[1].splitlines()]
    assert [step["run"] for step in read("ci.yml")["jobs"]["lint"]["steps"] if "run" in step][1:] == wanted


def test_every_extra_is_pinned() -> None:
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines("constraints.txt").split()}
    wanted = [re.split(r"[\[<>=]", one)[0] for extra in PROJECT["optional-dependencies"].values() for one in extra]
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} - {"snnconv"} <= pinned


def test_the_samples_name_the_tag_that_a_release_moves() -> None:
    files = [ROOT / "samples" / "ci" / name for name in ("README.md", "workflow.yml", "gitlab.yml")]
    named = {
        tag for file in files for tag in re.findall(r"snnconv/snnconv(?:/samples/ci/action@|@|/)(v[\w.]+)", file.read_text())
    }
    full = f"v{snnconv.__version__}"
    assert named <= {full.partition(".")[0], full}
    assert named


def test_the_changelog_says_what_is_new_in_this_version() -> None:
    text = lines("CHANGELOG.md")
    assert f"To be {snnconv.__version__}." in text or f"## [{snnconv.__version__}]" in text
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(f"\n[{heading}]: https://" in text for heading in headings)


def test_the_rooms_for_users_can_all_be_imported() -> None:
    names: dict[str, Any] = {}
    exec("from snnconv import *", names)
    assert set(snnconv.__all__) <= names.keys()
