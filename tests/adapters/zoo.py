"""spikingjelly's model zoo. Its package imports torchvision, for weights from the network, and h5py, for data sets."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import spikingjelly.activation_based
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

_PACKAGE = "spikingjelly.activation_based.model"


def _model(name: str) -> ModuleType:
    """One file of the zoo, without the package around it."""
    for missing in ("torchvision", "torchvision.models", "torchvision.models.utils", "h5py"):
        if missing not in sys.modules:
            stub = sys.modules[missing] = ModuleType(missing)
            stub.__spec__ = ModuleSpec(missing, None)
    utils: Any = sys.modules["torchvision.models.utils"]
    utils.load_state_dict_from_url = torch.hub.load_state_dict_from_url
    if _PACKAGE not in sys.modules:
        package = sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
        package.__path__ = [str(Path(spikingjelly.activation_based.__file__).parent / "model")]
    return importlib.import_module(f"{_PACKAGE}.{name}")


def resnet(block: str, step_mode: str) -> nn.Module:
    """The zoo's `SpikingResNet` at CIFAR size, with one block a stage."""
    model = _model("spiking_resnet")
    torch.manual_seed(0)
    net = model.SpikingResNet(getattr(model, block), [1, 1, 1, 1], 10, spiking_neuron=neuron.LIFNode, tau=2.0, v_threshold=0.4)
    functional.set_step_mode(net, step_mode)
    net.timesteps, net.input_shape = 4, (3, 32, 32)
    return net


def vgg(step_mode: str) -> nn.Module:
    """The zoo's `SpikingVGG` with a slim configuration, its classifier with fewer hidden units."""
    torch.manual_seed(0)
    made = _model("spiking_vgg").SpikingVGG
    net = made([8, "M", 16, "M", 16, "M"], True, num_classes=10, spiking_neuron=neuron.IFNode, v_threshold=0.5)
    net.classifier[0], net.classifier[3], net.classifier[6] = layer.Linear(784, 64), layer.Linear(64, 64), layer.Linear(64, 10)
    functional.set_step_mode(net, step_mode)
    net.timesteps, net.input_shape = 4, (3, 32, 32)
    return net


def _sized(net: Any, size: int) -> nn.Module:
    """A network that takes one image and repeats it, with what the converter reads off it."""
    functional.set_step_mode(net, "m")
    net.timesteps, net.input_shape = 4, (3, size, size)
    return net


def calibrated(net: nn.Module, run: Callable[[nn.Module], Any]) -> nn.Module:
    """A network whose norms have seen some batches, with gammas of both signs, so large that its neurons fire."""
    norms = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.weight.data = torch.where(torch.arange(len(norm.weight)) % 4 == 1, -1.5, 1.5)
        nn.init.constant_(norm.bias, 0.3)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            run(net)
            functional.reset_net(net)
    return net.eval()


def spikformer() -> nn.Module:
    """A slim Spikformer, as the others with the neurons that it has by default."""
    return _sized(_model("spikformer").Spikformer(4, 3, 32, 32, 4, 10, embed_dims=16, num_heads=2, mlp_ratio=2.0, depths=1), 32)


def qkformer(kind: str) -> nn.Module:
    """A slim QKFormer, with attention over tokens or over channels."""
    return _sized(_model("qkformer").QKFormer(4, 3, 10, 16, (1, 2, 2), (1, 1, 1), 2.0, qka_type=kind), 64)


def maxformer(cifar: bool) -> nn.Module:
    """A slim MaxFormer, in its form for ImageNet or for CIFAR."""
    return _sized(_model("maxformer").MaxFormer(4, 3, 10, 64, (1, 1, 1), 2.0, cifar=cifar), 32)


def spike_driven_transformer() -> nn.Module:
    """A slim spike-driven transformer."""
    return _sized(_model("spike_driven_transformer").SpikeDrivenTransformer(4, 3, 10, 16, 2, 1, 2.0), 32)
