"""Report files: the suffix decides, what is missing is said early, and a file is whole or not there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from snnconv.errors import BackendMissing, InputError
from snnconv.report import REPORTS, write_report, writer_of
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
        writer_of(Path(f"report{suffix}"))
    assert writer_of(Path("report.json")) and writer_of(Path("report.xml"))


@pytest.mark.parametrize("suffix", REPORTS)
def test_a_report_is_written_whole_and_twice_alike(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        write_report(path, REPORT)
    assert paths[0].read_bytes() == paths[1].read_bytes() == writer_of(paths[0]).render(REPORT).encode()
    assert sorted(tmp_path.iterdir()) == paths


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from snnconv.report import REPORTS, write_report
from snnconv.results.document import verification_report
from tests.report.examples import bad, good
for suffix in REPORTS:
    write_report(Path(sys.argv[1]) / f"report{suffix}", verification_report([good(), bad()]))
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True, capture_output=True)
    for suffix, kind in REPORTS.items():
        assert (tmp_path / f"report{suffix}").read_bytes() == kind.render(REPORT).encode(), suffix


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
