"""Constants that change from step to step work in every artifact, for as many steps as were trained and not one more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from snnconv.data import synthetic
from snnconv.engines import Candidate
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.nn import BNTT, LIF, MPBN, TAB, TEBN
from snnconv.results.verdict import judge
from snnconv.sources import Source
from snnconv.verify import Reference, verify
from tests.artifacts import artifact
from tests.networks import inputs, program_of, source_of
from tests.norms import T, settled

C = 4
KINDS: dict[str, Callable[[int], nn.Module]] = {
    "TEBN": lambda t: TEBN(C, t),
    "BNTT": lambda t: BNTT(C, t),
    "TAB": lambda t: TAB(C, t),
}
ARTIFACTS = [("n.onnx", "sequence"), ("n.onnx", "step"), ("n.ts", "sequence"), ("n.ts", "step"), ("n.pt2", "step")]
EACH = pytest.mark.parametrize("kind", KINDS)
FORMS = pytest.mark.parametrize(("name", "form"), ARTIFACTS, ids=[f"{Path(n).suffix[1:]} {f}" for n, f in ARTIFACTS])


class Net(nn.Module):
    """A norm per step in front of a neuron, and another behind one, where nothing can take it."""

    def __init__(self, kind: str, trained: int = T) -> None:
        super().__init__()
        self.conv1, self.norm1, self.act1 = nn.Conv2d(2, C, 3, padding=1), KINDS[kind](trained), LIF(norm=MPBN(C))
        self.conv2, self.act2, self.norm2 = nn.Conv2d(C, C, 3), LIF(threshold=0.3, reset="soft"), KINDS[kind](trained)
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(C * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(x)))
        return self.head(self.pool(self.norm2(self.act2(self.conv2(x)))).flatten(1))


def source(kind: str, timesteps: int = T, trained: int = T, event: bool = False, readout: str = "mean") -> Source:
    torch.manual_seed(0)
    return source_of(settled(Net(kind, trained)), timesteps, event, readout)


@pytest.mark.sample(3)
@FORMS
@pytest.mark.parametrize(("kind", "event"), [("TEBN", False), ("BNTT", False), ("TAB", False), ("BNTT", True)])
def test_every_artifact_is_equivalent(kind: str, name: str, form: str, event: bool, tmp_path: Path) -> None:
    original = source(kind, event=event)
    candidate = artifact(fold(original.program), tmp_path / name, form)
    found = verify(Reference(original), candidate, synthetic(original.program.contract, samples=4), ("source", name))
    assert judge(found).equivalent, judge(found).faults
    assert {tally.explained for tally in found.layers} == {0}


@pytest.mark.sample(4)
@FORMS
@pytest.mark.parametrize("readout", ["sum", "last", "none"])
def test_every_read_out_is_that_of_the_source(readout: str, name: str, form: str, tmp_path: Path) -> None:
    original = source("TAB", readout=readout)
    x = inputs(original, 3)
    torch.testing.assert_close(
        artifact(fold(original.program), tmp_path / name, form).run(x), original.run(x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.sample(4)
@FORMS
@EACH
def test_fewer_steps_than_trained_use_the_first_constants(kind: str, name: str, form: str, tmp_path: Path) -> None:
    original = source(kind, timesteps=3, trained=6)
    x = inputs(original, 3)
    candidate = artifact(fold(original.program), tmp_path / name, form)
    torch.testing.assert_close(candidate.run(x), original.run(x), rtol=1e-4, atol=1e-5)
    assert candidate.constants()["act1.gain"].shape[0] == 3


def test_more_steps_than_trained_are_refused_at_once() -> None:
    with pytest.raises(Refused, match=r"norm1 holds constants for 4 time steps, not for 5") as refusal:
        source("BNTT", timesteps=5)
    assert "--timesteps 4" in str(refusal.value.todo)


@EACH
def test_a_scripted_sequence_runs_fewer_steps_and_refuses_more(kind: str, tmp_path: Path) -> None:
    original = source(kind)
    artifact(fold(original.program), tmp_path / "n.ts", "sequence")
    module, x = torch.jit.load(tmp_path / "n.ts"), inputs(original, 2)
    shorter = source(kind, timesteps=2)
    torch.testing.assert_close(module(x, 2), shorter.run(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(Exception, match="constants per step for 4 time steps"):
        module(x, 5)


@pytest.mark.parametrize("name", ["n.onnx", "n.ts"])
def test_a_step_counts_for_each_sample_and_refuses_a_step_more(name: str, tmp_path: Path) -> None:
    """Streamed by hand: two samples, one of which began a step later."""
    original = source("BNTT", readout="none")
    candidate = artifact(fold(original.program), tmp_path / name, "step")
    x = inputs(original, 2)
    expected = original.run(x)
    state = first(candidate, tmp_path / name, 2)
    seen: list[list[Tensor]] = [[], []]
    for t in range(T):
        y, state = stepped(tmp_path / name, x, state)
        seen[0].append(y[0])
        if t:
            seen[1].append(y[1])
        if t == 0:  # the second sample starts again
            state = {key: torch.stack([value[0], torch.zeros_like(value[1])]) for key, value in state.items()}
    assert state["time_step"].tolist() == [4, 3]
    torch.testing.assert_close(torch.stack(seen[0]), expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.stack(seen[1]), expected[1, :3], rtol=1e-4, atol=1e-5)
    with pytest.raises(Exception, match=r"out of (data bounds|range)"):
        stepped(tmp_path / name, x, state)


def first(candidate: Candidate, path: Path, batch: int) -> dict[str, Tensor]:
    if path.suffix == ".ts":
        return torch.jit.load(path).initial_state(batch)
    inputs = {v.name.removeprefix("state."): v for v in onnx.load(path).graph.input if v.name != "x"}
    sizes = {name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for name, v in inputs.items()}
    kinds = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.INT64: torch.int64}
    return {name: torch.zeros(batch, *sizes[name], dtype=kinds[v.type.tensor_type.elem_type]) for name, v in inputs.items()}


def stepped(path: Path, frame: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """One call of an artifact, as its user would make it."""
    if path.suffix == ".ts":
        return torch.jit.load(path)(frame, state)
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    fed = {"x": frame.numpy(), **{f"state.{name}": value.numpy() for name, value in state.items()}}
    y, *following = map(torch.from_numpy, session.run(["y", *(f"next_state.{name}" for name in state)], fed))
    return y, dict(zip(state, following, strict=True))


@pytest.mark.parametrize("name", ["n.onnx", "n.ts"])
def test_a_wrong_entry_of_one_step_is_found(name: str, tmp_path: Path) -> None:
    original = source("BNTT")
    candidate = artifact(fold(original.program), tmp_path / name, "sequence")
    gain = candidate.constants()["act1.gain"].clone()
    gain[2, 0, 1] *= 1.001
    found = verify(
        Reference(original),
        candidate.with_constants({"act1.gain": gain}),
        synthetic(original.program.contract, samples=2),
        ("s", "c"),
    )
    assert next(check.layer for check in found.checks if not check.passed) == "act1"


def test_a_neuron_with_the_name_of_the_count_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(2, C, 3))
    net.add_module("norm", TEBN(C, T))
    net.add_module("time_step", LIF())
    net.add_module("flat", nn.Flatten())
    program = fold(program_of(settled(net)))
    with pytest.raises(Refused, match="a neuron is called time_step"):
        export(program, tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"), "step")


def test_a_neuron_without_constants_per_step_has_no_count(tmp_path: Path) -> None:
    program = fold(program_of(settled(nn.Sequential(nn.Conv2d(2, C, 3), nn.BatchNorm2d(C), LIF(), nn.Flatten()))))
    export(program, tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"), "step")
    assert [v.name for v in onnx.load(tmp_path / "n.onnx").graph.input] == ["x", "state.2"]
