"""A network that keeps more than potentials converts, with a state of its own for everything that it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from snnconv.engines import open_candidate
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.sources import factory
from tests.adapters.conversions import in_turn, loaded, verified
from tests.remembering import FACTORIES, Remembering, inputs, made, source_of


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", FACTORIES)
def test_what_is_kept_is_exported_and_verified(name: str, tmp_path: Path) -> None:
    source = source_of(made(name))
    assert source.program.memories
    for found in verified(source, tmp_path, inputs(source), in_turn(FACTORIES, name)):
        assert 0 < found.layers[0].spikes_reference < found.layers[0].values
        assert {tally.name for tally in found.layers} >= set(source.program.memories)


@pytest.mark.sample(1)
@pytest.mark.parametrize("readout", ["sum", "last", "none"])
@pytest.mark.parametrize("name", ["feedback", "gated"])
def test_frames_go_through_a_loop_and_are_read_out(name: str, readout: str, tmp_path: Path) -> None:
    source = source_of(made(name), True, readout)
    verified(source, tmp_path, inputs(source), (("n.onnx", "sequence"), ("n.ts", "sequence")))


def test_states_are_named_by_where_they_are_kept(tmp_path: Path) -> None:
    assert source_of(made("long")).program.memories == {"kept.0": (6,), "kept.1": (6,)}
    source = source_of(made("linear"))
    export(fold(source.program), tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"), "step")
    model = open_candidate(tmp_path / "n.onnx").load().model  # type: ignore[attr-defined]
    assert [v.name for v in model.graph.input] == ["x", "state.1.sub_module", "state.1.y"]
    assert [v.name for v in model.graph.output] == ["y", "next_state.1.sub_module", "next_state.1.y"]


def test_a_sequence_leaves_out_what_nothing_reads_in_its_last_steps(tmp_path: Path) -> None:
    source = source_of(made("older"))
    assert source.program.unread == {"kept.0": 1, "kept.1": 0}
    assert source_of(made("long")).program.unread == {"kept.0": 0, "kept.1": 0}
    verified(source, tmp_path, inputs(source))


def test_a_program_file_keeps_its_memories(tmp_path: Path) -> None:
    source = source_of(made("feedback"))
    folded, x = fold(source.program), inputs(source)
    pt2.save(folded, tmp_path / "f.pt2")
    read = pt2.load(tmp_path / "f.pt2")
    assert read.memories == {"kept": (8,)} and torch.equal(read.run(x), folded.run(x))


class Biased(Remembering):
    """Its first step has no bias, which zeros would have."""

    def __init__(self) -> None:
        super().__init__()
        self.back = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc(x) if self.kept is None else self.fc(x) + self.back(self.kept)
        self.kept = self.act(x)
        return self.head(self.kept + x)


def test_a_first_step_that_is_none_on_zeros_is_refused() -> None:
    with pytest.raises(Refused, match=r"its first step otherwise than from 0 or another constant in what it keeps \(kept\)"):
        source_of(Biased().eval())


class GatedReadOut(nn.Module):
    """A gated unit behind spikes, and the potential of a neuron that never fires behind both."""

    timesteps, input_shape = 4, (6,)

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif, self.cell = nn.Linear(6, 8), neuron.LIFNode(v_threshold=0.1), nn.GRUCell(8, 5)
        self.head, self.last, self.h = nn.Linear(5, 3), neuron.LIFNode(v_threshold=float("inf")), None

    def forward(self, x: Tensor) -> Tensor:
        self.h = self.cell(self.lif(self.fc(x)), self.h)
        self.last(self.head(self.h))
        return self.last.v


@pytest.mark.long
def test_a_memory_goes_beside_a_potential_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = GatedReadOut()
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    source = loaded(net, "gated:net", tmp_path)
    assert source.program.memories == {"h": (5,)}
    verified(source, tmp_path, 3 * torch.rand(6, 6))
