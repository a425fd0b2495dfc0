"""Help is at hand at once: it names every command and option, and loads none of the heavy packages."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.run import run

COMMANDS = ("inspect", "fold", "export", "verify", "convert")
HEAVY = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "safetensors", "junitparser")
PROBE = """
import json, sys
from snnconv_cli.main import main
sys.argv[0] = "snnconv"
try:
    main()
except SystemExit as stop:
    print(json.dumps([stop.code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""
SOURCE_OPTIONS = ("--arch", "--timesteps", "--input", "--input-shape", "--readout", "--leak", "--threshold", "--config")
OPTIONS = {
    "inspect": (*SOURCE_OPTIONS, "--json"),
    "fold": (*SOURCE_OPTIONS, "--output", "--force", "--json"),
    "verify": (*SOURCE_OPTIONS, "--data", "--seed", "--agreement", "--report", "--json"),
    "export": ("--output", "--format", "--time", "--batch", "--data", "--report", "--force", "--json"),
    "convert": (*SOURCE_OPTIONS, "--output", "--time", "--batch", "--data", "--report", "--force", "--json"),
}


def probe(*args: str) -> tuple[str, int, set[str]]:
    """What `snnconv *args` prints, its exit code, and the packages that it has imported."""
    done = subprocess.run([sys.executable, "-c", PROBE, *args], capture_output=True, text=True, check=True)
    code, packages = json.loads(done.stderr.splitlines()[-1])
    return done.stdout, code, set(packages)


def test_help_lists_the_five_commands_and_loads_nothing_heavy() -> None:
    text, code, packages = probe("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in text
    assert not packages & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    text, code, packages = probe(command, "--help")
    assert code == 0
    assert f"Usage: snnconv {command} [OPTIONS]" in text
    assert not packages & set(HEAVY)


@pytest.mark.parametrize("args", [["--version"], ["convert", "--time", "foo"], ["frobnicate"]])
def test_nothing_heavy_is_loaded_to_say_that_usage_is_wrong(args: list[str]) -> None:
    assert not probe(*args)[2] & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_promised_option_is_in_the_help(command: str) -> None:
    text = run(command, "--help").out
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
