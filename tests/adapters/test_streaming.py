"""An artifact of one step, streamed by a loop of its user's own, is the framework's network step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import snntorch.utils
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snnconv.export import export, format_of
from snnconv.fold import fold
from tests.adapters import test_snntorch, test_spikingjelly
from tests.adapters.conversions import loaded

STEPS = 20
NETWORKS: dict[str, tuple[ModuleType, str, Callable[[nn.Module], None]]] = {
    "spikingjelly": (test_spikingjelly, "mpbn_resting", functional.reset_net),
    "spikingjelly with a synaptic current": (test_spikingjelly, "cuba", functional.reset_net),
    "snntorch": (test_snntorch, "hidden_zero", snntorch.utils.reset),
    "snntorch with a synaptic current": (test_snntorch, "hidden_synaptic", snntorch.utils.reset),
}


def streamed(path: Path, frames: Tensor) -> Tensor:
    """The outputs `[B, T, K]` of an ONNX artifact of one step on `frames` `[B, T, C, H, W]`."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()[1:]]
    state = {v.name: np.zeros((len(frames), *v.shape[1:]), np.float32) for v in session.get_inputs()[1:]}
    outputs = []
    for t in range(frames.shape[1]):
        y, *following = session.run(["y", *(f"next_{name}" for name in names)], {"x": frames[:, t].numpy(), **state})
        state = dict(zip(names, following, strict=True))
        outputs.append(torch.from_numpy(y))
    return torch.stack(outputs, 1)


@pytest.mark.sample(2)
@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_are_the_frameworks(name: str, batch: int, tmp_path: Path) -> None:
    module, network, reset = NETWORKS[name]
    net = (
        module.net_of(network)
        if module is test_spikingjelly
        else test_snntorch.trained(test_snntorch.made(network), test_snntorch.run, test_snntorch.images())
    )
    source = loaded(net, f"{module.__name__}:{network}", tmp_path)
    export(fold(source.program), tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"), "step")
    frames = torch.rand(batch, STEPS, 2, 6, 6, generator=torch.Generator().manual_seed(batch))
    net = net.eval()
    reset(net)
    with torch.no_grad():
        expected = torch.stack([net(frames[:, t]) for t in range(STEPS)], 1)
    found = streamed(tmp_path / "n.onnx", frames)
    assert batch < 16 or 0 < expected.mean() < 1
    unlike = int((found != expected).sum())
    assert unlike <= expected.numel() // 500, "a spike on its threshold may differ by rounding"
