"""The trained samples convert as they stand, and what comes out decides as they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnconv.convert import convert
from snnconv.request import Request, Target
from snnconv.sources import SourceOptions

SAMPLES = Path(__file__).parent.parent / "samples"
CHECKPOINTS = {
    "per_channel": ("fashion_per_channel.pth", ".onnx", {"BatchNorm2d", "MPBN"}),
    "per_element": ("fashion_per_element.safetensors", ".ts", {"BatchNorm2d", "MPBN"}),
    "psp": ("fashion_psp.safetensors", ".onnx", {"PSPNorm"}),
    "tebn": ("fashion_tebn.safetensors", ".ts", {"BatchNorm2d", "per-step scale"}),
    "mpbn": ("fashion_spikingjelly.safetensors", ".onnx", {"BatchNorm2d", "MPBN"}),
    "leaky": ("fashion_snntorch.safetensors", ".onnx", {"BatchNorm2d"}),
}
FILES = {"mpbn": "fashion_spikingjelly", "leaky": "fashion_snntorch"}
ACCURACY = {"per_channel": 0.91, "per_element": 0.898, "psp": 0.90, "tebn": 0.906, "mpbn": 0.904, "leaky": 0.906}


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_sample_converts(name: str, tmp_path: Path) -> None:
    file, suffix, kinds = CHECKPOINTS[name]
    target, options = Target(tmp_path / f"net{suffix}"), SourceOptions(arch=f"samples.{FILES.get(name, 'fashion')}:{name}")
    request = Request(SAMPLES / file, options, str(SAMPLES / "fashion_test500.npz"), targets=(target,))
    result = convert(request, request.load())
    assert {site.kind for site in result.sites} == kinds
    (verdict,) = result.verdicts
    assert verdict.equivalent, verdict.faults
    task = verdict.verification.task
    assert task is not None and task.labelled == 500
    assert task.right_reference / 500 == task.right_candidate / 500 == pytest.approx(ACCURACY[name], abs=0.003)
    assert target.path.exists()
