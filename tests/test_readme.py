"""README.md shows what the commands print today, and its Python runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnconv.adapters import registration
from snnconv.adapters.registration import ADAPTERS
from tests import readme
from tests.cli.run import ARCH, place, run
from tests.readme import Command, blocks, commands, scratch

QUICK = ("inspect", "fold")
REFRESH = "python -m tests.readme --update writes what is printed today into README.md"
pytest_plugins = ["pytester"]


def check(command: Command) -> None:
    """Run a command of the README in the present folder and hold its output against what stands there."""
    result = run(*command.arguments)
    assert result.code == 0, result.err
    assert command.agrees(result.out), f"snnconv {command.line} prints:\n{result.out}\n{REFRESH}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(scratch(tmp_path))
    return tmp_path


@pytest.mark.parametrize("command", [c for c in commands() if c.arguments[0] in QUICK], ids=lambda c: c.arguments[0])
def test_a_quick_command_prints_what_stands_in_the_readme(command: Command, here: Path) -> None:
    check(command)


@pytest.mark.long
def test_every_command_prints_what_stands_in_the_readme(here: Path) -> None:
    assert len(commands()) >= 5
    for command in commands():
        check(command)


def test_an_output_agrees_whatever_its_times_and_not_whatever_its_words() -> None:
    command = Command("verify", ("EQUIVALENT  a.onnx", "...", "verdict: EQUIVALENT (1.6 s)"))
    assert command.agrees("EQUIVALENT  a.onnx\n\nruntime  torch 2.13.0\ndata  3\nverdict: EQUIVALENT (12.3 s)\n")
    assert not command.agrees("NOT EQUIVALENT  a.onnx\ndata  3\nverdict: EQUIVALENT (12.3 s)\n")
    assert not command.agrees("EQUIVALENT  a.onnx\ndata  3\n")


def test_the_readme_is_renewed_only_where_it_disagrees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("```\n$ snnconv a\nold\n$ snnconv b\nfirst\n...\nit took 1.0 s\n```\n```\n$ snnconv c\ntook 2.0 s\n```\n")
    monkeypatch.setattr(readme, "README", path)
    printed = {"a": "new\n\n  line \n", "b": "one\ntwo\nthree\nit took 3.0 s\n", "c": "took 9.0 s\n"}
    assert readme.rewritten(lambda command: printed[command.line]) == (
        "```\n$ snnconv a\nnew\n  line\n$ snnconv b\none\n...\nit took 3.0 s\n```\n```\n$ snnconv c\ntook 2.0 s\n```\n"
    )


def python(start: str) -> str:
    """The Python block of the README in which `start` stands."""
    (block,) = (block for block in blocks("python") if start in block)
    return block


def test_the_network_of_the_readme_runs() -> None:
    names: dict[str, Any] = {"images": torch.rand(2, 1, 28, 28)}
    exec(python("def factory()"), names)
    assert names["logits"].shape == (2, 10)


def test_the_adapter_of_the_readme_knows_a_neuron(monkeypatch: pytest.MonkeyPatch) -> None:
    class MyNeuron(torch.nn.Module):
        decay, v_threshold = 0.5, 1.0

        def forget(self) -> None:
            """Nothing is kept."""

    monkeypatch.setattr("snnconv.adapters.registration.ADAPTERS", dict(ADAPTERS))
    names: dict[str, Any] = {"MyNeuron": MyNeuron}
    exec(python("@adapter("), names)
    told = names["my_neuron"](MyNeuron())
    assert ADAPTERS.keys() < registration.ADAPTERS.keys()
    assert (float(told.leak), float(told.threshold)) == (0.5, 1.0)


def test_the_test_of_the_readme_passes(pytester: pytest.Pytester) -> None:
    for name in ("net.pth", "net.onnx"):
        place(pytester.path, name)
    np.savez(pytester.path / "test.npz", x=np.random.default_rng(0).random((3, 2, 8, 8), np.float32))
    pytester.makepyfile(test_it=python("assert_equivalent").replace("package.module:factory", ARCH[1]))
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
