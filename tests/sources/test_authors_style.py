"""A network written as the MPBN authors write theirs converts without an adapter, and is theirs spike for spike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from tests.adapters.conversions import ARTIFACTS, loaded, verified
from tests.golden import read
from tests.norms import settled
from tests.sources import authors_style


def test_the_style_computes_what_the_authors_code_computed() -> None:
    golden = read("resnet20_cifar_modified")
    net = authors_style.event().eval()
    net.load_state_dict(golden.state(), strict=False)
    with torch.no_grad():
        assert torch.equal(net(golden.x), golden.y)


@pytest.mark.long
def test_every_artifact_fires_every_spike_of_the_authors_code(tmp_path: Path) -> None:
    golden = read("resnet20_cifar_modified")
    net = authors_style.event()
    net.load_state_dict(golden.state(), strict=False)
    shown: dict[str, Any] = {"input": "event", "input_shape": tuple(golden.x.shape[-3:]), "timesteps": golden.timesteps}
    source = loaded(net, "tests.sources.authors_style:event", tmp_path, **shown)
    folded = fold(source.program)
    for artifact in (tmp_path / "net.onnx", tmp_path / "net.ts"):
        export(folded, artifact, format_of(artifact))
        seen = open_candidate(artifact).load().observe(golden.x)
        assert seen.spikes.keys() == golden.spikes.keys()
        for neuron, spikes in golden.spikes.items():
            assert torch.equal(torch.stack(seen.spikes[neuron]).float(), spikes), neuron
        torch.testing.assert_close(seen.y, golden.y, rtol=1e-4, atol=1e-5)


def test_a_small_network_of_the_same_parts_is_equivalent(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.rand(12, 2, 6, 6)
    net = settled(authors_style.small())
    source = loaded(net, "tests.sources.authors_style:small", tmp_path, input_shape=(2, 6, 6))
    assert source.settings["timesteps"] == "3 (network)"
    with torch.no_grad():
        torch.testing.assert_close(source.program.run(images), net.eval()(images), rtol=1e-5, atol=1e-6)
    verified(source, tmp_path, images, (ARTIFACTS[0], ARTIFACTS[3]))
