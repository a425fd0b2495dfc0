"""`--output` with several outputs, from a checkpoint to artifacts, to a program and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.run import run
from tests.networks import trained
from tests.several import Heads

NETWORK = ("net.pth", "--arch", "tests.several:Heads", "--input-shape", "2,8,8", "--timesteps", "3")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.save(trained(Heads()).state_dict(), tmp_path / "net.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_outputs_go_the_whole_road_and_the_summary_names_each(here: Path) -> None:
    result = run("convert", *NETWORK, "--output", "all", "-o", "n.ts", "-o", "n.onnx", "--report", "r.json")
    assert (result.code, result.out.splitlines()[0]) == (0, "EQUIVALENT  net.pth (tests.several:Heads)")
    assert "output logits, aux, map, spikes (option)" in result.out
    told = [line for line in result.out.splitlines() if line.startswith("task ")]
    assert [line.split(":")[0].split()[-1] for line in told] == ["logits", "aux", "map", "spikes"] * 2
    assert list(json.loads((here / "r.json").read_text())["results"][0]["outputs"]) == ["logits", "aux", "map", "spikes"]
    assert run("bench", "n.onnx").code == 0


def test_a_program_keeps_several_outputs_and_exports_them(here: Path) -> None:
    assert run("fold", *NETWORK, "--output", "aux,logits", "-o", "f.pt2").code == 0
    assert run("export", "f.pt2", "-o", "n.ts").code == 0
    result = run("verify", *NETWORK, "n.ts", "f.pt2", "--output", "aux,logits")
    assert result.code == 0
    assert result.out.count("output aux ") == result.out.count("output logits ") == 2, "a line of the table of layers each"
    other = run("verify", *NETWORK, "n.ts", "--output", "logits,aux")
    assert other.code == 1
    assert "outputs are aux (mean), logits (mean) in the artifact, logits (mean), aux (mean) in the source" in other.out


def test_a_settings_file_may_list_outputs(here: Path) -> None:
    (here / "snn.toml").write_text('output = ["logits", "aux"]\n')
    result = run("inspect", *NETWORK, "--config", "snn.toml")
    assert (result.code, "logits, aux (snn.toml)" in result.out) == (0, True)


def test_without_a_word_it_says_how_to_take_them(here: Path) -> None:
    result = run("inspect", *NETWORK)
    assert result.code == 3
    assert result.error.endswith(
        "choose one, as in --output logits, or several, as in --output logits,aux, or take them all with --output all"
    )
