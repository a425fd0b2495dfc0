"""Every runtime runs, watches and looks into the same artifact alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from snnconv.engines import Candidate, RunFailure, open_candidate
from snnconv.errors import InputError
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram, put, share, tensors
from snnconv.lower import lower
from snnconv.nn import LIF
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
    save(folded, path, form)
    return open_candidate(path).load()


def save(program: SpikingProgram, path: Path, form: str) -> None:
    if path.suffix == ".pt2":
        pt2.save(program, path)
    else:
        export(program, path, format_of(path), form)


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
        assert len(seen.spikes[name]) == len(seen.potentials[name]) == folded.contract.timesteps
        for fired, expected in zip(seen.spikes[name], spikes[name], strict=True):
            assert torch.equal(fired > 0, expected > 0), name
        for u, expected in zip(seen.potentials[name], potentials[name], strict=True):
            torch.testing.assert_close(u, expected, rtol=1e-5, atol=1e-5)


def test_watching_does_not_change_the_output(candidate: Candidate) -> None:
    x = inputs(SOURCE, 4)
    torch.testing.assert_close(candidate.run(x), candidate.observe(x).y, rtol=1e-5, atol=1e-5)


def test_input_of_the_wrong_shape_is_a_failure_of_the_run(candidate: Candidate) -> None:
    for run in (candidate.run, candidate.observe):
        with pytest.raises(RunFailure, match=r"invalid dimensions|to have 2 channels"):
            run(torch.zeros(1, 3, 5, 5))


def with_threshold(program: SpikingProgram, by: float) -> SpikingProgram:
    neuron = program.neurons["act1"]
    return replace(program, neurons={**program.neurons, "act1": replace(neuron, threshold=neuron.threshold + by)})


def with_weight(program: SpikingProgram, factor: float) -> SpikingProgram:
    graph = share(program.graph)
    put(graph, "conv1.weight", tensors(graph)["conv1.weight"] * factor)
    return replace(program, graph=graph)


CHANGES = {
    "act1.threshold": lambda program: with_threshold(program, 0.2),
    "conv1.weight": lambda program: with_weight(program, 1.5),
}


def watched(program: SpikingProgram, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    potentials: dict[str, list[torch.Tensor]] = {}
    return program.run(x, lambda name, step, u, fired: potentials.setdefault(name, []).append(u)), potentials


@pytest.mark.parametrize("path", CHANGES)
def test_another_constant_makes_another_network_of_the_same_artifact(
    path: str, candidate: Candidate, folded: SpikingProgram
) -> None:
    x, changed = inputs(SOURCE, 4), CHANGES[path](folded)
    before = candidate.observe(x)
    moved = candidate.with_constants({path: lower(changed, candidate.form).constants()[path]})
    seen, (y, potentials) = moved.observe(x), watched(changed, x)
    torch.testing.assert_close(seen.y, y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(moved.run(x), y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen.potentials, potentials, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before.y, y)
    assert torch.equal(candidate.observe(x).y, before.y), "the artifact itself is left as it was"
    assert (moved.runtime, moved.form, moved.batch) == (candidate.runtime, candidate.form, candidate.batch)


def test_float64_constants_make_all_of_it_compute_in_float64(candidate: Candidate) -> None:
    x = inputs(SOURCE, 4).double()
    folded64 = fold(SOURCE.to(torch.float64).program)
    exact = candidate.with_constants(lower(folded64, candidate.form).constants())
    seen, (y, potentials) = exact.observe(x), watched(folded64, x)
    torch.testing.assert_close(seen.y, y, rtol=0, atol=1e-12)
    torch.testing.assert_close(exact.run(x), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(seen.potentials, potentials, rtol=0, atol=1e-12)


def test_in_float64_what_is_not_given_keeps_its_value(candidate: Candidate) -> None:
    name = "conv1.weight"
    exact = candidate.with_constants({name: candidate.constants()[name].double()})
    for path, value in exact.constants().items():
        held = candidate.constants()[path]
        assert torch.equal(value, held.double() if held.is_floating_point() else held), path
    assert exact.observe(inputs(SOURCE, 4).double()).potentials["act3"][2].dtype == torch.float64


def test_constants_that_it_does_not_hold_are_refused_by_name(candidate: Candidate) -> None:
    with pytest.raises(RunFailure, match=r"no constant act9\.leak"):
        candidate.with_constants({"act9.leak": torch.zeros(())})
    with pytest.raises(RunFailure, match=r"conv1\.weight is .*\[6, 2, 3, 3\], not .*\[2\]"):
        candidate.with_constants({"conv1.weight": torch.zeros(2)})


class Casting(torch.nn.Module):
    """Code that names a float type: what was float32 when it was captured must become float64 with the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = torch.nn.Conv2d(2, 4, 3), LIF(threshold=0.1)
        self.conv2, self.act2 = torch.nn.Conv2d(4, 4, 3), LIF(threshold=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.act1(self.conv1(x.to(self.conv1.weight.dtype)))
        ones = torch.ones(4, 6, 6, dtype=self.conv1.weight.dtype)
        return self.act2(self.conv2((spikes > 0).to(self.conv2.weight.dtype) * ones)).flatten(1)


@pytest.mark.sample(3)
@pytest.mark.parametrize(("name", "form"), ARTIFACTS)
def test_casts_and_new_tensors_follow_to_float64(name: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = source_of(Casting().eval())
    path = tmp_path / name
    save(fold(source.program), path, form)
    folded64, x = fold(source.to(torch.float64).program), inputs(source, 2).double()
    seen = open_candidate(path).load().with_constants(lower(folded64, form).constants()).observe(x)
    _, potentials = watched(folded64, x)
    torch.testing.assert_close(seen.potentials, potentials, rtol=0, atol=1e-12)


def test_an_onnx_file_of_another_tool_is_foreign_and_says_nothing_about_itself(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, [1])], [value("y", 1, [1])])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    opened = open_candidate(tmp_path / "other.onnx")
    assert opened.foreign
    with pytest.raises(InputError, match="no snnconv metadata"):
        _ = opened.contract


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    np.save(tmp_path / "net.npy", np.zeros(1))
    with pytest.raises(InputError, match=r"\.pt2, \.onnx, \.ts"):
        open_candidate(tmp_path / "net.npy")
