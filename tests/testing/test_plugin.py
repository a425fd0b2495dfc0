"""The pytest plugin in a project of someone else: the fixture, what pytest says, and the reports."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from tests.cli.run import ROOT, place

pytest_plugins = ["pytester"]

PASSES = 'def test_net(assert_equivalent):\n    assert assert_equivalent("raw.pt2", "net.ts", "data.npz").word == "EQUIVALENT"\n'
FAILS = 'def test_wrong(assert_equivalent):\n    assert_equivalent("raw.pt2", "wrong.ts", "data.npz")\n'


def installed() -> bool:
    return any(point.name == "snnconv" for point in entry_points(group="pytest11"))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with a program, two artifacts and data, to write tests into."""
    for name in ("raw.pt2", "net.ts"):
        place(pytester.path, name)
    extra = {"snnconv.json": ""}
    module = torch.jit.load(str(pytester.path / "net.ts"), _extra_files=extra)
    with torch.no_grad():
        module.state_dict()["body.conv2.weight"][4] *= 1.01
    torch.jit.save(module, str(pytester.path / "wrong.ts"), extra)
    np.savez(pytester.path / "data.npz", x=np.random.default_rng(0).random((3, 2, 8, 8), np.float32))
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return pytester


def pytest_in(project: pytest.Pytester, *args: str, process: bool = True) -> pytest.RunResult:
    """pytest in the project, in a process of its own unless that shows nothing more."""
    plugin = () if installed() else ("-p", "snnconv.testing.plugin")
    run = project.runpytest_subprocess if process else project.runpytest_inprocess
    return run(*plugin, "-p", "no:cacheprovider", *args)


def test_the_package_says_that_it_has_a_plugin() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\nsnnconv = "snnconv.testing.plugin"' in text


def test_a_sound_artifact_passes_and_one_that_is_not_fails_with_its_layers(project: pytest.Pytester) -> None:
    project.makepyfile(PASSES + FAILS)
    result = pytest_in(project, "--junitxml", "junit.xml", process=False)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *NotEquivalent: wrong.ts is not equivalent to raw.pt2",
            "E *proof conv2: 54 of 324 in weight differ, first at ?4, 0, 0, 0?: *",
            "E *deployment act2: * values outside their rounding bound*",
        ]
    )
    cases = ElementTree.parse(project.path / "junit.xml").iter("testcase")
    properties = {case.get("name"): [dict(p.attrib) for p in case.iter("property")] for case in cases}
    assert properties == {
        "test_net": [{"name": "snnconv", "value": "net.ts: EQUIVALENT"}],
        "test_wrong": [{"name": "snnconv", "value": "wrong.ts: NOT EQUIVALENT"}],
    }
    assert not [path for path in project.path.iterdir() if path.suffix in (".json", ".html")]


@pytest.mark.long
def test_reports_of_every_verdict_go_into_the_folder(project: pytest.Pytester) -> None:
    twice = (
        'def test_two(assert_equivalent):\n    for _ in range(2):\n        assert_equivalent("raw.pt2", "net.ts", "data.npz")\n'
    )
    named = (
        "import pytest\n@pytest.mark.parametrize('name', ['a/b: c', '../up'])\n"
        "def test_named(name, assert_equivalent):\n    assert_equivalent('raw.pt2', 'net.ts', 'data.npz')\n"
    )
    project.makepyfile(named + FAILS + twice)
    pytest_in(project, "--snnconv-reports", "out/reports").assert_outcomes(passed=3, failed=1)
    written = sorted(path.name for path in (project.path / "out" / "reports").iterdir())
    stems = {name.rpartition(".")[0] for name in written}
    assert len(stems) == 5
    assert written == sorted(f"{stem}{suffix}" for stem in stems for suffix in (".json", ".html"))
    for stem in stems:
        document = json.loads((project.path / "out" / "reports" / f"{stem}.json").read_text())
        assert document["equivalent"] == ("wrong" not in stem)
        assert document["results"][0]["candidate"] == ("wrong.ts" if "wrong" in stem else "net.ts")


@pytest.mark.long
def test_tests_of_one_name_in_two_files_have_a_report_each(project: pytest.Pytester) -> None:
    project.makepyfile(test_a=PASSES, test_b=PASSES)
    pytest_in(project, "--snnconv-reports", "reports").assert_outcomes(passed=2)
    assert len(list((project.path / "reports").glob("*.json"))) == 2


def test_a_folder_that_cannot_be_made_is_said_before_any_test(project: pytest.Pytester) -> None:
    project.makepyfile(PASSES)
    Path(project.path / "reports").write_text("a file")
    result = pytest_in(project, "--snnconv-reports", "reports")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_the_option_and_the_fixture_are_in_pytests_help(project: pytest.Pytester) -> None:
    pytest_in(project, "--help").stdout.fnmatch_lines(["*--snnconv-reports=FOLDER*"])
    project.makepyfile(PASSES)
    pytest_in(project, "--fixtures").stdout.fnmatch_lines(["assert_equivalent*", "*whose verdict also goes into pytest's own*"])


def test_a_project_that_does_not_use_it_pays_nothing(project: pytest.Pytester) -> None:
    project.makepyfile("import sys\ndef test_light():\n    assert 'torch' not in sys.modules\n")
    pytest_in(project).assert_outcomes(passed=1)
