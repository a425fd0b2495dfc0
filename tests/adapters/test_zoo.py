"""Networks of spikingjelly's model zoo, in both step modes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from tests.adapters import zoo
from tests.adapters.conversions import loaded, mixed_signs, trained, verified

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet_s": lambda: zoo.resnet("BasicBlock", "s"),
    "resnet_m": lambda: zoo.resnet("BasicBlock", "m"),
    "vgg_s": lambda: zoo.vgg("s"),
    "vgg_m": lambda: zoo.vgg("m"),
}


TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {
    "spikformer": zoo.spikformer,
    "qkformer_token": lambda: zoo.qkformer("token"),
    "qkformer_channel": lambda: zoo.qkformer("channel"),
    "maxformer": lambda: zoo.maxformer(cifar=False),
    "maxformer_cifar": lambda: zoo.maxformer(cifar=True),
    "spike_driven": zoo.spike_driven_transformer,
}


def __getattr__(name: str) -> Callable[[], nn.Module]:
    if name not in (*NETWORKS, *TRANSFORMERS):
        raise AttributeError(name)
    return NETWORKS[name] if name in NETWORKS else TRANSFORMERS[name]


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_zoo_is_equivalent(name: str, tmp_path: Path) -> None:
    def run(net: nn.Module, x: Tensor) -> Tensor:
        functional.reset_net(net)
        return net(x.expand(4, *x.shape)).mean(0) if name.endswith("m") else torch.stack([net(x) for _ in range(4)]).mean(0)

    x = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    source = loaded(trained(mixed_signs(NETWORKS[name]()), run, x, steps=2), f"{__name__}:{name}", tmp_path)
    (found,) = verified(source, tmp_path, x, (("n.onnx", "sequence"),))
    assert sum(tally.spikes_reference > 0 for tally in found.layers[:-1]) >= 4


@pytest.mark.long
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_spiking_transformer_of_the_zoo_is_equivalent(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = TRANSFORMERS[name]()
    net = zoo.calibrated(net, lambda made: made(torch.rand(4, *made.input_shape)))
    source = loaded(net, f"{__name__}:{name}", tmp_path)
    x = torch.rand(3, *net.input_shape, generator=torch.Generator().manual_seed(1))
    for found in verified(source, tmp_path, x, (("n.onnx", "sequence"), ("n.ts", "step"))):
        assert sum(tally.spikes_reference > 0 for tally in found.layers[:-1]) >= len(found.layers) // 2
