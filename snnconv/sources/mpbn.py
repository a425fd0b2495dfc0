"""The thirteen networks of the MPBN authors (arXiv 2308.08359), which differ in their keys and shapes.

Every network is a plain sequence of layers, named as the authors name them without the leading `model.`, so that a state-dict can
be loaded as it is. What it does not hold comes from the paper: leak 0.25, threshold 0.5 with a strict comparison, hard reset to
0, four time steps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn

from snnconv.nn import LIF, MPBN


@dataclass(frozen=True)
class Layers:
    """Makes the layers of a network; its fields are what a state-dict does not hold, by default the authors' values.

    The authors wrap every layer in a module that loops over time. Here only the name of the layer in that module is left.
    """

    leak: float = 0.25
    threshold: float = 0.5
    strict: bool = True
    timesteps: int = 4

    def neuron(self, channels: int) -> LIF:
        """A neuron with a membrane norm."""
        return LIF(leak=self.leak, threshold=self.threshold, strict=self.strict, norm=MPBN(channels))

    def norm(self, channels: int) -> nn.Sequential:
        """The batch norm after a convolution."""
        return _named(bn=_NormOverTime(channels, self.timesteps))

    def conv(self, inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
        """A convolution of kernel size `size` that keeps the image size, but for its stride."""
        return _named(pool=_ConvOverTime(inputs, outputs, size, stride, bias, self.timesteps))


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


class _ConvOverTime(nn.Conv2d):
    """A convolution, rounded as the authors' code rounds it.

    They convolve the images of all time steps at once. Torch convolves several images with oneDNN, but a single small image with
    a kernel of its own, which rounds differently. A captured graph keeps the plain convolution.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, bias: bool, timesteps: int) -> None:
        super().__init__(inputs, outputs, size, stride, padding=size // 2, bias=bias)
        self.several = timesteps > 1

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[B, C, H, W]` of one step, convolved as one of several."""
        if torch.compiler.is_exporting() or not self._alone_among_steps(x):
            return super().forward(x)
        padding, stride, dilation = self.padding, self.stride, self.dilation
        return torch.ops.aten.mkldnn_convolution(x, self.weight, self.bias, padding, stride, dilation, self.groups)

    def _alone_among_steps(self, x: Tensor) -> bool:
        return self.several and len(x) == 1 and x.dtype is torch.float32 and torch.backends.mkldnn.is_available()


class _NormOverTime(nn.BatchNorm2d):
    """The norm after a convolution, rounded as the authors' code rounds it.

    They normalise `[B, C, T, H, W]` as a view on `[T, B, C, H, W]`, and torch's rounding depends on the strides; those of two
    steps are like those of any number above one. A captured graph keeps the plain batch norm, in which one spike in millions
    differs.
    """

    def __init__(self, channels: int, timesteps: int) -> None:
        super().__init__(channels)
        self.steps = min(timesteps, 2)

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[B, C, H, W]` of one step, normalised as one of several."""
        if torch.compiler.is_exporting():
            return super().forward(x)
        over_time = torch.stack([x] * self.steps).permute(1, 2, 0, 3, 4)
        normed = nn.functional.batch_norm(over_time, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return normed[:, :, 0].contiguous()


class _Block(nn.Module):
    """Residual block, whose shortcut is added to the input of the output neuron."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module | None, make: Layers) -> None:
        super().__init__()
        self.conv1, self.bn1 = make.conv(inputs, outputs, 3, stride), make.norm(outputs)
        self.relu1 = make.neuron(outputs)
        self.conv2, self.bn2 = make.conv(outputs, outputs, 3), make.norm(outputs)
        self.output_act = make.neuron(outputs)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The spikes of the output neuron for `x` `[B, C, H, W]`."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.output_act(out)


def _strided_shortcut(inputs: int, outputs: int, make: Layers) -> nn.Sequential:
    return nn.Sequential(make.conv(inputs, outputs, 1, stride=2), make.norm(outputs))


def _pooled_shortcut(inputs: int, outputs: int, make: Layers) -> nn.Sequential:
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, make.conv(inputs, outputs, 1), make.norm(outputs))


def _cifar_stem(inputs: int, make: Layers) -> dict[str, nn.Module]:
    return {"conv1": make.conv(inputs, 128, 3), "bn1": make.norm(128), "relu": make.neuron(128)}


def _imagenet_stem(inputs: int, make: Layers) -> dict[str, nn.Module]:
    layers = {"conv1": make.conv(inputs, 64, 7, stride=2), "bn1": make.norm(64), "relu": make.neuron(64)}
    return {**layers, "avgpool1": nn.AvgPool2d(3, 2, 1)}


def _modified_stem(inputs: int, make: Layers) -> dict[str, nn.Module]:
    parts = [part for channels in (inputs, 64, 64) for part in (make.conv(channels, 64, 3), make.norm(64), make.neuron(64))]
    return {"conv1": nn.Sequential(*parts), "avgpool": nn.AvgPool2d(2)}


class Plan(Hashable, Protocol):
    """How a network is built, and the keys whose shapes tell its input channels and its number of classes."""

    @property
    def stem_key(self) -> str:
        """The key of the weight `[C, inputs, ...]` of the first convolution."""

    @property
    def head_key(self) -> str:
        """The key of the weight `[classes, C]` of the linear read-out."""

    def build(self, inputs: int, classes: int, make: Layers) -> nn.Module:
        """The network for images of `inputs` channels, untrained."""


@dataclass(frozen=True)
class ResNetPlan:
    """Stem, layers of `blocks` residual blocks each, global average pool, linear read-out.

    The first layer has the `width` channels of the stem. Every further one halves the image and doubles the channels in its first
    block, which is the only one whose shortcut has layers.
    """

    blocks: tuple[int, ...]
    width: int
    stem: Callable[[int, Layers], dict[str, nn.Module]]
    shortcut: Callable[[int, int, Layers], nn.Sequential]
    stem_key: str = "conv1.pool.weight"
    head_key: str = "fc.conv.weight"

    def build(self, inputs: int, classes: int, make: Layers) -> nn.Sequential:
        """The network for images of `inputs` channels, untrained."""
        layers = {f"layer{i + 1}": self._layer(i, make) for i in range(len(self.blocks))}
        head = _named(conv=nn.Linear(self._channels(len(self.blocks) - 1), classes))
        return _named(**self.stem(inputs, make), **layers, globalpool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=head)

    def _channels(self, layer: int) -> int:
        return self.width * 2**layer

    def _layer(self, i: int, make: Layers) -> nn.Sequential:
        outputs = self._channels(i)
        blocks = [_Block(outputs, outputs, 1, None, make) for _ in range(self.blocks[i])]
        if i > 0:
            inputs = self._channels(i - 1)
            blocks[0] = _Block(inputs, outputs, 2, self.shortcut(inputs, outputs, make), make)
        return nn.Sequential(*blocks)


@dataclass(frozen=True)
class VGGPlan:
    """Five stages of `convolutions` with bias, each ended by an average pool; global average pool, linear read-out."""

    convolutions: tuple[int, int, int, int, int]
    stem_key: str = "features.0.pool.weight"
    head_key: str = "classifier.conv.weight"

    def build(self, inputs: int, classes: int, make: Layers) -> nn.Sequential:
        """The network for images of `inputs` channels, untrained."""
        parts: list[nn.Module] = []
        for width, convolutions in zip((64, 128, 256, 512, 512), self.convolutions, strict=True):
            for _ in range(convolutions):
                parts += [make.conv(inputs, width, 3, bias=True), make.norm(width), make.neuron(width)]
                inputs = width
            parts.append(nn.AvgPool2d(2))
        head = _named(conv=nn.Linear(512, classes))
        return _named(features=nn.Sequential(*parts), globalpool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), classifier=head)


@dataclass(frozen=True)
class Architecture:
    """One of the authors' networks: its name, its plan, and the height and width of its usual images."""

    name: str
    plan: Plan
    size: int = 32

    @property
    def golden(self) -> str:
        """The file that holds a run of the authors' code."""
        return f"tests/golden/official/{self.name}.npz"

    def shapes(self, inputs: int = 3, classes: int = 10) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the state-dict, by the authors' keys without `model.`."""
        return _layout(self.plan, inputs, classes)

    def layout_like(self, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """The same with as many input channels and classes as the weights in `tensors` have."""
        stem, head = tensors.get(self.plan.stem_key), tensors.get(self.plan.head_key)
        inputs = stem.shape[1] if stem is not None and stem.dim() == 4 else 3
        classes = head.shape[0] if head is not None and head.dim() == 2 else 10
        return self.shapes(inputs, classes)

    def module(self, tensors: dict[str, Tensor], make: Layers) -> nn.Module:
        """The network in evaluation mode, with the weights in `tensors`, whose layout has been checked."""
        net = self.plan.build(tensors[self.plan.stem_key].shape[1], tensors[self.plan.head_key].shape[0], make)
        ours = {_authors_key(key): key for key in net.state_dict()}
        # Counters of training batches are not used at inference, and some files leave them out.
        net.load_state_dict({ours[key]: value for key, value in tensors.items()}, strict=False)
        return net.eval()


@cache
def _layout(plan: Plan, inputs: int, classes: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        tensors = plan.build(inputs, classes, Layers()).state_dict()
    return {_authors_key(key): tuple(value.shape) for key, value in tensors.items()}


def _authors_key(key: str) -> str:
    """The authors' key of one of our tensors: they call a neuron's membrane norm `bn`."""
    return key.replace(".norm.", ".bn.")


def _cifar(*blocks: int) -> ResNetPlan:
    return ResNetPlan(blocks, 128, _cifar_stem, _strided_shortcut)


def _imagenet(*blocks: int) -> ResNetPlan:
    return ResNetPlan(blocks, 64, _imagenet_stem, _strided_shortcut)


ARCHITECTURES = (
    Architecture(
        "resnet20_cifar_modified", ResNetPlan((2, 2, 2, 2), 64, _modified_stem, _pooled_shortcut, "conv1.0.pool.weight")
    ),
    Architecture("resnet19_cifar", _cifar(3, 3, 2)),
    Architecture("resnet20_cifar", _cifar(3, 3, 3)),
    Architecture("resnet32_cifar", _cifar(5, 5, 5)),
    Architecture("resnet44_cifar", _cifar(7, 7, 7)),
    Architecture("resnet56_cifar", _cifar(9, 9, 9)),
    Architecture("resnet110_cifar", _cifar(18, 18, 18)),
    Architecture("ResNet18", _imagenet(2, 2, 2, 2), size=224),
    Architecture("ResNet34", _imagenet(3, 4, 6, 3), size=224),
    Architecture("vgg11_bn", VGGPlan((1, 1, 2, 2, 2))),
    Architecture("vgg13_bn", VGGPlan((2, 2, 2, 2, 2))),
    Architecture("vgg16_bn", VGGPlan((2, 2, 3, 3, 3))),
    Architecture("vgg19_bn", VGGPlan((2, 2, 4, 4, 4))),
)
