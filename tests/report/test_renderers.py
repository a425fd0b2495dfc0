"""Report files: the suffix decides, what is missing is said early, and a file is whole or not there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from snnconv.errors import BackendMissing, InputError
from snnconv.report import REPORTS, renderer_of, write_report
from snnconv.results.document import verification_report
from tests.report.examples import bad, good

REPORT = verification_report([good(), bad()])


def test_an_unknown_suffix_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown suffix '\.pdf'; a report is one of \.json, \.xml, \.md, \.html"):
        write_report(tmp_path / "report.pdf", REPORT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "package"), [(".md", "jinja2"), (".html", "jinja2"), (".html", "matplotlib")])
def test_a_missing_package_is_said_before_any_work(suffix: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(BackendMissing, match=rf"needs {package}; pip install snnconv\[report\]"):
        renderer_of(Path(f"report{suffix}"))
    assert renderer_of(Path("report.json")) and renderer_of(Path("report.xml"))


@pytest.mark.parametrize("suffix", REPORTS.names())
def test_a_report_is_written_whole_and_twice_alike(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        write_report(path, REPORT)
    assert paths[0].read_bytes() == paths[1].read_bytes() == renderer_of(paths[0]).render(REPORT).encode()
    assert sorted(tmp_path.iterdir()) == paths


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from snnconv.report import REPORTS, write_report
from snnconv.results.document import verification_report
from tests.report.examples import bad, good
for suffix in REPORTS.names():
    write_report(Path(sys.argv[1]) / f"report{suffix}", verification_report([good(), bad()]))
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True, capture_output=True)
    for suffix in REPORTS.names():
        assert (tmp_path / f"report{suffix}").read_bytes() == REPORTS[suffix].render(REPORT).encode(), suffix


def test_another_package_adds_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "csv_report.py").write_text(
        "from snnconv.report import Renderer\n"
        "def render(report):\n"
        "    return ''.join(f'{v.verification.candidate},{v.word}\\n' for v in report.verdicts)\n"
        "RENDERER = Renderer(render)\n"
    )
    installed = tmp_path / "csv_report-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: csv-report\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[snnconv.reports]\n.csv = csv_report:RENDERER\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_report(tmp_path / "report.csv", REPORT)
    assert (tmp_path / "report.csv").read_text() == "fashion.onnx,EQUIVALENT\nbroken.onnx,NOT EQUIVALENT\n"
    with pytest.raises(InputError, match=r"a report is one of \.json, \.xml, \.md, \.html, \.csv"):
        renderer_of(Path("report.pdf"))


def test_a_failed_report_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("before")
    monkeypatch.setattr(Path, "write_bytes", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(InputError, match="cannot write: disk full"):
        write_report(path, REPORT)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_importing_reports_loads_nothing_heavy() -> None:
    code = "import sys, snnconv.report; print(*{'torch', 'numpy', 'pydantic', 'jinja2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
