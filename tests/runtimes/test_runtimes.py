"""Every runtime runs, watches and looks into the same artifact alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from snnconv import pt2
from snnconv.errors import InputError
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.lower import lower
from snnconv.program import SpikingProgram
from snnconv.runtimes import Candidate, RunFailure, open_candidate
from tests.networks import inputs, per_element, source_of

SOURCE = source_of(per_element(), timesteps=3)
ARTIFACTS = [("net.pt2", "step"), ("net.onnx", "sequence"), ("net.onnx", "step"), ("net.ts", "sequence"), ("net.ts", "step")]


@pytest.fixture(scope="module")
def folded() -> SpikingProgram:
    return fold(SOURCE.program)


@pytest.fixture(scope="module", params=ARTIFACTS, ids=lambda a: f"{a[0]}-{a[1]}")
def candidate(request: pytest.FixtureRequest, folded: SpikingProgram, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    name, form = request.param
    path = tmp_path_factory.mktemp("artifact") / name
    if path.suffix == ".pt2":
        pt2.save(folded, path)
    else:
        export(folded, path, format_of(path), form)
    return open_candidate(path)


def test_it_holds_every_constant_by_its_path(candidate: Candidate, folded: SpikingProgram) -> None:
    held = candidate.constants()
    for path, value in lower(folded, candidate.form).constants().items():
        assert torch.equal(held[path], value), path


def test_it_shows_every_potential_and_spike(candidate: Candidate, folded: SpikingProgram) -> None:
    x = inputs(SOURCE, 4)
    potentials: dict[str, list[torch.Tensor]] = {}
    spikes: dict[str, list[torch.Tensor]] = {}

    def watch(name: str, step: int, u: torch.Tensor, fired: torch.Tensor) -> None:
        potentials.setdefault(name, []).append(u)
        spikes.setdefault(name, []).append(fired)

    y = folded.run(x, watch)
    seen = candidate.observe(x)
    torch.testing.assert_close(seen.y, y, rtol=1e-5, atol=1e-5)
    for name in folded.neurons:
        assert torch.equal(seen.spikes[name], torch.cat(spikes[name])), name
        torch.testing.assert_close(seen.potentials[name], torch.cat(potentials[name]), rtol=1e-5, atol=1e-5)


def test_watching_does_not_change_the_output(candidate: Candidate) -> None:
    x = inputs(SOURCE, 4)
    torch.testing.assert_close(candidate.run(x), candidate.observe(x).y, rtol=1e-5, atol=1e-5)


def test_input_of_the_wrong_shape_is_a_failure_of_the_run(candidate: Candidate) -> None:
    with pytest.raises((RunFailure, RuntimeError)):
        candidate.run(torch.zeros(1, 3, 5, 5))


def test_an_onnx_file_of_another_tool_is_refused_by_name(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, [1])], [value("y", 1, [1])])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(InputError, match="no snnconv metadata"):
        open_candidate(tmp_path / "other.onnx")


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    np.save(tmp_path / "net.npy", np.zeros(1))
    with pytest.raises(InputError, match=r"\.pt2, \.onnx, \.ts"):
        open_candidate(tmp_path / "net.npy")
