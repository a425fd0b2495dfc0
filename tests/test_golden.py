"""A checkpoint that the MPBN authors' own code trained and ran, with every spike it fired."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snnconv.data import open_data
from snnconv.engines import Observation, open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram
from snnconv.results.verdict import judge
from snnconv.sources import Source, SourceOptions, load_source
from snnconv.verify import Reference, verify
from snnconv.verify.rounding import Magnitudes, bound

STEPS = 4


@dataclass(frozen=True)
class Golden:
    """Inputs `[16, 3, 32, 32]`, logits `[16, 10]`, and per neuron its spikes `[T * 16, C, H, W]`, steps first."""

    path: Path
    x: Tensor
    y: Tensor
    spikes: dict[str, Tensor]
    source: Source
    folded: SpikingProgram


@pytest.fixture(scope="module")
def run(golden: Path) -> Golden:
    with np.load(golden / "mpbn_res20m_T4.npz") as file:
        spikes = {}
        for key in file.files:
            kind, _, name = key.partition("/")
            if kind == "spikes":
                shape = tuple(file[f"shape/{name}"])
                bits = np.unpackbits(file[key], axis=1)[:, : int(np.prod(shape[1:]))]
                spikes[name.removeprefix("model.")] = torch.from_numpy(bits.reshape(shape).astype(np.float32)).flatten(0, 1)
        x, y = torch.from_numpy(file["x"]), torch.from_numpy(file["y"])
    source = load_source(golden / "mpbn_res20m.pth", SourceOptions())
    return Golden(golden / "mpbn_res20m_T4.npz", x, y, spikes, source, fold(source.program))


def test_the_unfolded_source_reproduces_every_spike_and_the_logits(run: Golden) -> None:
    seen: dict[str, list[Tensor]] = {}
    y = run.source.run(run.x, lambda name, current, spikes: seen.setdefault(name, []).append(spikes))
    assert list(seen) == list(run.spikes)
    assert sum(int((torch.cat(seen[name]) != run.spikes[name]).sum()) for name in seen) == 0
    torch.testing.assert_close(y, run.y, rtol=0, atol=1e-5)


def test_the_source_reproduces_every_spike_one_image_at_a_time(run: Golden) -> None:
    for i in (0, 15):
        seen: dict[str, list[Tensor]] = {}
        run.source.run(run.x[i : i + 1], lambda name, current, spikes, seen=seen: seen.setdefault(name, []).append(spikes))
        for name, spikes in run.spikes.items():
            torch.testing.assert_close(torch.cat(seen[name]), spikes[i::16], rtol=0, atol=0)


def first_differences(run: Golden, seen: Observation) -> list[tuple[str, Tensor]]:
    """Per image that differs from the golden spikes at all: the earliest step and layer that does, as a mask `[T * 16, ...]`."""
    found = []
    for image in range(16):
        places = [
            (t, order, name)
            for order, name in enumerate(run.spikes)
            for t in range(STEPS)
            if not torch.equal(seen.spikes[name][t][image].float(), run.spikes[name][t * 16 + image])
        ]
        if places:
            t, _, name = min(places)
            mask = torch.zeros_like(run.spikes[name], dtype=torch.bool)
            mask[t * 16 + image] = seen.spikes[name][t][image] != run.spikes[name][t * 16 + image]
            found.append((name, mask))
    return found


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("file", "form"),
    [("net.pt2", ""), ("net.onnx", "sequence"), ("net.onnx", "step"), ("net.ts", "sequence"), ("net.ts", "step")],
)
def test_every_artifact_spikes_as_the_authors_network_but_for_explained_flips(
    file: str, form: str, run: Golden, tmp_path: Path
) -> None:
    path = tmp_path / file
    if form:
        export(run.folded, path, format_of(path), form)
    else:
        pt2.save(run.folded, path)
    seen = open_candidate(path).load().observe(run.x)
    differences = first_differences(run, seen)
    assert len(differences) <= 2, "rounding may tip a spike on its threshold in 1 of 48 images or so"
    joined = {name: torch.cat(spikes).float() for name, spikes in seen.spikes.items()}
    magnitudes = Magnitudes(run.source.program)
    with torch.no_grad():
        magnitudes.measure([torch.cat([run.x] * STEPS)], {name: [spikes] for name, spikes in joined.items()})
    for name, mask in differences:
        u, threshold = torch.cat(seen.potentials[name]), run.folded.neurons[name].threshold
        allowed = bound(magnitudes.current[name] + u.abs(), magnitudes.terms[name])
        assert bool(((u - threshold).abs() <= allowed)[mask].all()), name


@pytest.mark.long
def test_the_onnx_artifact_is_verified_on_every_level(run: Golden, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export(run.folded, path, format_of(path))
    data = open_data(str(run.path), run.folded.contract)
    result = judge(verify(Reference(run.source), open_candidate(path), data, ("golden", path.name)))
    assert result.equivalent, result.faults
    assert {check.level for check in result.checks} == {"contract", "proof", "algebra", "deployment", "task"}
    assert sum(tally.unexplained for tally in result.verification.layers) == 0
    assert result.verification.task is not None
    assert result.verification.task.agreement == 1.0
