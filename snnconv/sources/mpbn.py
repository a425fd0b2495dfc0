"""Checkpoints of the MPBN authors (arXiv 2308.08359): four networks, told apart by keys and shapes alone.

The modules below carry the authors' parameter names without the leading `model.`, so a state-dict loads as it is. What it does
not hold comes from the paper: leak 0.25, threshold 0.5 with a strict comparison, hard reset to 0, four time steps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snnconv.nn import LIF, MPBN

NeuronFactory = Callable[[int], LIF]


@dataclass(frozen=True)
class NeuronConstants:
    """What the state-dict leaves open about the neurons; the defaults are the authors'."""

    leak: float = 0.25
    threshold: float = 0.5
    strict: bool = True

    def __call__(self, channels: int) -> LIF:
        return LIF(leak=self.leak, threshold=self.threshold, strict=self.strict, norm=MPBN(channels))


def _named(name: str, module: nn.Module) -> nn.Sequential:
    """The authors wrap every layer in a module that loops over time; only its attribute name is left of it here."""
    return nn.Sequential(OrderedDict([(name, module)]))


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    return _named("pool", nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=bias))


class _StridedNorm(nn.BatchNorm2d):
    """The norm after a convolution, rounded as the authors' code rounds it.

    They normalise `[B, C, T, H, W]` as a view on `[B, T, C, H, W]`, and for such strides torch has another kernel, whose last
    bits differ. A graph keeps the plain batch norm: the difference is of rounding, and one spike in millions sits on it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return super().forward(x)
        return super().forward(nn.functional.pad(x, (0, 1))[..., :-1]).contiguous()


def _norm(channels: int) -> nn.Sequential:
    return _named("bn", _StridedNorm(channels))


class _Block(nn.Module):
    """Residual block: the shortcut joins the potential of the output neuron."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module | None, neuron: NeuronFactory) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = _conv(inputs, outputs, 3, stride), _norm(outputs), neuron(outputs)
        self.conv2, self.bn2, self.output_act = _conv(outputs, outputs, 3), _norm(outputs), neuron(outputs)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.output_act(out)


def _strided_shortcut(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, 1, stride=2), _norm(outputs))


def _pooled_shortcut(inputs: int, outputs: int) -> nn.Sequential:
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, _conv(inputs, outputs, 1), _norm(outputs))


def _layer(inputs: int, outputs: int, blocks: int, stride: int, shortcut, neuron: NeuronFactory) -> nn.Sequential:
    first = _Block(inputs, outputs, stride, shortcut(inputs, outputs) if stride > 1 else None, neuron)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1, None, neuron) for _ in range(blocks - 1)))


class _ResNet(nn.Module):
    """Stem, residual layers, global average pool, linear read-out."""

    def __init__(self, width: int, layers: list[tuple[int, int, int]], shortcut, classes: int, neuron: NeuronFactory) -> None:
        super().__init__()
        for i, (channels, blocks, stride) in enumerate(layers, 1):
            setattr(self, f"layer{i}", _layer(width, channels, blocks, stride, shortcut, neuron))
            width = channels
        self.depth = len(layers)
        self.fc = _named("conv", nn.Linear(width, classes))

    def stem(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(self.stem(x), 2)
        for i in range(1, self.depth + 1):
            x = self.get_submodule(f"layer{i}")(x)
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class ResNet(_ResNet):
    """`resnet19_cifar` and `resnet20_cifar`: one stem convolution, three layers."""

    def __init__(self, inputs: int, classes: int, neuron: NeuronFactory, blocks: tuple[int, int, int]) -> None:
        layers = list(zip((128, 256, 512), blocks, (1, 2, 2), strict=True))
        super().__init__(128, layers, _strided_shortcut, classes, neuron)
        self.conv1, self.bn1, self.relu = _conv(inputs, 128, 3), _norm(128), neuron(128)

    def stem(self, x: Tensor) -> Tensor:
        return self.relu(self.bn1(self.conv1(x)))


class ModifiedResNet(_ResNet):
    """`resnet20_cifar_modified`: three stem convolutions, four layers, pooled shortcuts."""

    def __init__(self, inputs: int, classes: int, neuron: NeuronFactory) -> None:
        super().__init__(64, [(64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2)], _pooled_shortcut, classes, neuron)
        parts: list[nn.Module] = []
        for channels in (inputs, 64, 64):
            parts += [_conv(channels, 64, 3), _norm(64), neuron(64)]
        self.conv1 = nn.Sequential(*parts)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)


class VGG16(nn.Module):
    """`vgg16_bn`: thirteen convolutions with bias, average pooling between the stages."""

    def __init__(self, inputs: int, classes: int, neuron: NeuronFactory) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(depth):
                parts += [_conv(inputs, width, 3, bias=True), _norm(width), neuron(width)]
                inputs = width
            parts.append(nn.AvgPool2d(2))
        self.features = nn.Sequential(*parts)
        self.classifier = _named("conv", nn.Linear(512, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


@dataclass(frozen=True)
class Architecture:
    """One of the authors' networks: how to build it, and the keys whose shapes tell its input channels and its classes."""

    name: str
    build: Callable[[int, int, NeuronFactory], nn.Module]
    stem_key: str
    head_key: str

    def shapes(self, inputs: int = 3, classes: int = 10) -> dict[str, tuple[int, ...]]:
        """The state-dict layout, by the authors' keys without `model.`."""
        with torch.device("meta"):
            held = self.build(inputs, classes, NeuronConstants()).state_dict()
        return {_authors(key): tuple(value.shape) for key, value in held.items()}

    def fitted(self, state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """The layout with the input channels and classes that `state` shows."""
        stem, head = state.get(self.stem_key), state.get(self.head_key)
        inputs = stem.shape[1] if stem is not None and stem.dim() == 4 else 3
        classes = head.shape[0] if head is not None and head.dim() == 2 else 10
        return self.shapes(inputs, classes)

    def module(self, state: dict[str, Tensor], neuron: NeuronConstants) -> nn.Module:
        """The network in evaluation mode, with the weights of `state` (whose layout has been checked)."""
        net = self.build(state[self.stem_key].shape[1], state[self.head_key].shape[0], neuron)
        ours = {_authors(key): key for key in net.state_dict()}
        # The counters of training batches play no part at inference, and some files leave them out.
        net.load_state_dict({ours[key]: value for key, value in state.items()}, strict=False)
        return net.eval()


def _authors(key: str) -> str:
    """The authors keep a neuron's membrane norm under `bn`."""
    return key.replace(".norm.", ".bn.")


ARCHITECTURES = (
    Architecture("resnet20_cifar_modified", ModifiedResNet, "conv1.0.pool.weight", "fc.conv.weight"),
    Architecture("resnet19_cifar", lambda i, k, n: ResNet(i, k, n, (3, 3, 2)), "conv1.pool.weight", "fc.conv.weight"),
    Architecture("resnet20_cifar", lambda i, k, n: ResNet(i, k, n, (3, 3, 3)), "conv1.pool.weight", "fc.conv.weight"),
    Architecture("vgg16_bn", VGG16, "features.0.pool.weight", "classifier.conv.weight"),
)
