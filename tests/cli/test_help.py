"""Help is at hand at once: it names every command and option, and loads none of the heavy packages."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.run import run

COMMANDS = ("inspect", "fold", "export", "verify", "convert", "report judge", "report merge", "report schema")
HEAVY = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "safetensors", "junitparser", "jinja2", "matplotlib")
PROBE = """
import json, sys
from snnconv.cli.main import main
sys.argv[0] = "snnconv"
try:
    main()
except SystemExit as stop:
    print(json.dumps([stop.code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""
FILE_OPTIONS = ("--weights", "--ignore", "--rename")
SOURCE_OPTIONS = (
    "--arch",
    "--timesteps",
    "--input",
    "--input-shape",
    "--readout",
    "--leak",
    "--threshold",
    *FILE_OPTIONS,
    "--config",
)
VERIFY_OPTIONS = ("--data", "--labels", "--seed", "--policy", "--report", "--json")
REPORT_OPTIONS = ("--policy", "--config", "--report", "--format", "--json")
OPTIONS = {
    "inspect": (*SOURCE_OPTIONS, "--json"),
    "fold": (*SOURCE_OPTIONS, "--out", "--force", "--json"),
    "verify": (*SOURCE_OPTIONS, *VERIFY_OPTIONS, "--level", "--shard", "--resume", "--run-foreign-code", "--format"),
    "export": ("--out", "--format", "--time", "--batch", *VERIFY_OPTIONS, "--force"),
    "convert": (*SOURCE_OPTIONS, "--out", "--time", "--batch", *VERIFY_OPTIONS, "--force"),
    "report judge": REPORT_OPTIONS,
    "report merge": REPORT_OPTIONS,
    "report schema": (),
}


def probe(*args: str) -> tuple[str, int, set[str]]:
    """What `snnconv *args` prints, its exit code, and the packages that it has imported."""
    done = subprocess.run([sys.executable, "-c", PROBE, *args], capture_output=True, text=True, check=True)
    code, packages = json.loads(done.stderr.splitlines()[-1])
    return done.stdout, code, set(packages)


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    text, code, packages = probe("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command.partition(' ')[0]} " in text
    assert not packages & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    text, code, packages = probe(*command.split(), "--help")
    assert code == 0
    assert f"Usage: snnconv {command} [OPTIONS]" in text
    assert not packages & set(HEAVY)


@pytest.mark.parametrize("args", [["--version"], ["convert", "--time", "foo"], ["frobnicate"], ["verify", "--format", "x"]])
def test_nothing_heavy_is_loaded_to_say_that_usage_is_wrong(args: list[str]) -> None:
    assert not probe(*args)[2] & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_promised_option_is_in_the_help(command: str) -> None:
    text = run(*command.split(), "--help").out
    for option in OPTIONS[command]:
        assert option in text


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_two_names(flag: str) -> None:
    result = run(flag)
    assert result.code == 0
    assert result.err == ""
    assert result.out.startswith("Usage: snnconv [OPTIONS] COMMAND [ARGS]...")


def test_version_is_one_line() -> None:
    import snnconv

    assert run("--version").out == f"snnconv {snnconv.__version__}\n"


def test_no_arguments_show_the_help() -> None:
    result = run()
    assert "Usage: snnconv [OPTIONS] COMMAND [ARGS]..." in result.out + result.err
    assert "error: " not in result.err
    assert result.code in (0, 2)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_of_report_names_what_it_can_do(flag: str) -> None:
    result = run("report", flag)
    assert (result.code, result.err) == (0, "")
    for name in ("judge", "merge", "schema"):
        assert f"\n  {name} " in result.out


def test_report_without_a_file_asks_for_one_in_a_line() -> None:
    result = run("report")
    assert "Usage:" in result.out or len(result.err) < 200


COMPLETED = {
    "snnconv con": ["convert"],
    "snnconv convert --inp": ["--input", "--input-shape"],
    "snnconv convert --time s": ["sequence", "step"],
    "snnconv inspect net.pth --readout l": ["last"],
    "snnconv verify a.pth a.onnx --format g": ["github"],
    "snnconv report ": ["judge", "merge", "schema"],
    "snnconv report r.json --pol": ["--policy"],
}


@pytest.mark.parametrize("line", COMPLETED)
def test_a_shell_completes_commands_options_and_values(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SNNCONV_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    result = run()
    assert (result.code, result.err) == (0, "")
    assert result.out.split() == COMPLETED[line]


def test_completion_loads_nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SNNCONV_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "snnconv convert --time s")
    monkeypatch.setenv("COMP_CWORD", "3")
    text, code, packages = probe()
    assert (text.split(), code) == (["sequence", "step"], 0)
    assert not packages & set(HEAVY)


def test_completion_for_an_unknown_shell_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "tclsh")
    result = run("--show-completion")
    assert (result.code, result.out, result.err) == (2, "", "Shell tclsh not supported.\n")
