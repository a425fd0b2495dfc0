"""snnconv's form of every network of the MPBN authors computes what the authors' own code computed (`tests/golden`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.nn import neurons, run
from snnconv.sources import SourceOptions, load_source
from snnconv.sources.mpbn import ARCHITECTURES, Layers
from tests.golden import NAMES, Golden, read
from tests.networks import trained

BY_NAME = {arch.name: arch for arch in ARCHITECTURES}
LONG = ("resnet44_cifar", "resnet56_cifar", "resnet110_cifar", "ResNet34", "vgg16_bn", "vgg19_bn")
EVERY = [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in NAMES]


def rebuilt(golden: Golden) -> nn.Module:
    """snnconv's form of the network with the weights of the golden."""
    state = {key.removeprefix("model."): value for key, value in golden.state().items()}
    return BY_NAME[golden.arch].module(state, Layers(timesteps=golden.timesteps)).requires_grad_(False)


def observed(net: nn.Module, golden: Golden, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits, and the spikes of every neuron `[T, B, C, H, W]` by the authors' name in the order in which they fire."""
    seen: dict[str, list[Tensor]] = {}
    for name, layer in neurons(net).items():
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.setdefault(f"model.{name}", []).append(output))
    y = run(net, x, golden.timesteps, event=golden.event)
    return y, {name: torch.stack(spikes) for name, spikes in seen.items()}


def test_every_architecture_has_a_run_of_the_authors_code() -> None:
    assert set(NAMES) == set(BY_NAME)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_has_the_keys_and_shapes_of_the_authors(name: str) -> None:
    golden = read(name)
    layout = BY_NAME[name].shapes(golden.x.shape[-3], golden.y.shape[1])
    assert {f"model.{key}": shape for key, shape in layout.items()} == golden.layout


@pytest.mark.parametrize("name", EVERY)
def test_every_network_fires_every_spike_of_the_authors_code(name: str) -> None:
    golden = read(name)
    y, spikes = observed(rebuilt(golden), golden, golden.x)
    assert list(spikes) == list(golden.spikes)
    assert sum(int((spikes[neuron] != golden.spikes[neuron]).sum()) for neuron in spikes) == 0
    torch.testing.assert_close(y, golden.y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 3])
def test_convolutions_and_norms_are_rounded_as_over_all_steps_at_once(steps: int, batch: int) -> None:
    conv, norm = (trained(layer) for layer in (Layers(timesteps=steps).conv(16, 16, 3), Layers(timesteps=steps).norm(16)))
    x = torch.randn(steps, batch, 16, 9, 9, generator=torch.Generator().manual_seed(steps))
    three = nn.BatchNorm3d(16).eval()
    three.load_state_dict(norm.bn.state_dict())
    with torch.no_grad():
        convolved = nn.functional.conv2d(x.flatten(0, 1), conv.pool.weight, padding=1).unflatten(0, (steps, batch))
        normed = three(convolved.permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4)
        for t in range(steps):
            assert torch.equal(conv(x[t]), convolved[t])
            assert torch.equal(norm(convolved[t]), normed[t])


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name != "vgg11_bn")) for name in NAMES])
def test_every_artifact_fires_every_spike_of_the_authors_code(name: str, tmp_path: Path) -> None:
    golden, checkpoint = read(name), tmp_path / "net.pth"
    torch.save(golden.state(), checkpoint)
    kind = "event" if golden.event else "static"
    options = SourceOptions(timesteps=golden.timesteps, input=kind, input_shape=tuple(golden.x.shape[-3:]))
    folded = fold(load_source(checkpoint, options).program)
    for artifact in (tmp_path / "net.onnx", tmp_path / "net.ts"):
        export(folded, artifact, format_of(artifact))
        seen = open_candidate(artifact).load().observe(golden.x)
        for neuron, spikes in golden.spikes.items():
            assert torch.equal(torch.stack(seen.spikes[neuron.removeprefix("model.")]).float(), spikes), neuron
        torch.testing.assert_close(seen.y, golden.y, rtol=1e-4, atol=1e-5)
