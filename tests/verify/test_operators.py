"""Whatever torch can export is verified: each operator inside a small spiking network, in both formats, as sequence and as step.

A layer makes real numbers of spikes, the operator works on them, and a neuron decides on what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnconv.errors import Refused
from snnconv.export import encode, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.nn import LIF, reset
from snnconv.sources import Source
from snnconv.verify.rounding import Magnitudes
from tests.adapters.conversions import ARTIFACTS, in_turn, verified
from tests.networks import inputs, source_of

Function = Callable[[Any], Any]
SHAPES = {"map": (4, 6, 6), "signal": (4, 12), "volume": (4, 4, 4, 4), "vector": (12,), "tokens": (6, 8)}


class Around(nn.Module):
    """A function on real numbers `[B, *shape]`, between two neurons."""

    def __init__(self, function: Function, shape: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.act1, self.fc2 = nn.Linear(7, 32), LIF(threshold=0.2), nn.Linear(32, math.prod(shape))
        self.shape, self.function, self.act2, self.head = shape, function, LIF(threshold=0.2), nn.LazyLinear(5)
        with torch.no_grad():
            self.fc2.weight.mul_(3)
            self(torch.rand(2, 7))
        reset(self.eval())

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc2(self.act1(self.fc1(x))).unflatten(1, self.shape)
        return self.head(self.act2(self.function(y)).flatten(1))


def attended(y: Tensor, **how: Any) -> Tensor:
    return F.scaled_dot_product_attention(y, y, y, **how)


class SelfAttention(nn.Module):
    """Attention of tokens to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, y: Tensor) -> Tensor:
        found: Tensor = self.attention(y, y, y)[0]
        return found


class Looked(nn.Module):
    """A table, asked by a number made of each value."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)

    def forward(self, y: Tensor) -> Tensor:
        found: Tensor = self.table((y.abs() * 2).long().clamp(max=4))
        return found


def written(y: Tensor) -> Tensor:
    y = y * 1.0
    y[:, :, 0] = 0.5
    y[:, 2:4, 1:4] += y[:, 0:2, 1:4]
    return y


def blocks(y: Tensor) -> Tensor:
    return y.view(y.shape[0], 4, 3, 2, 3, 2).permute(0, 2, 4, 3, 5, 1).reshape(y.shape[0], 9, 16)


def ramp(*shape: int) -> Tensor:
    return torch.linspace(-1, 1, math.prod(shape)).view(shape)


def resized(**how: Any) -> Function:
    return lambda y: F.interpolate(y, **how)


ACTIVATIONS: dict[str, Function] = {
    str(layer): layer
    for layer in (
        *(nn.ReLU(), nn.ReLU6(), nn.ELU(0.7), nn.CELU(0.5), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish()),
        *(nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(-0.5, 0.7), nn.Hardshrink(0.2), nn.Softshrink(0.2), nn.Tanhshrink()),
        *(nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh(), nn.Softplus(2.0, 5.0), nn.Softsign(), nn.LeakyReLU(0.2), nn.PReLU(4)),
        *(nn.RReLU(), nn.Threshold(0.1, -0.3), nn.GLU(1), nn.Softmax(1), nn.Softmin(1), nn.LogSoftmax(1), nn.Softmax2d()),
    )
}
LAYERS: dict[str, Function] = {
    str(layer): layer
    for layer in (
        *(nn.ReflectionPad2d((1, 2, 0, 1)), nn.ReplicationPad2d(1), nn.ZeroPad2d((1, 0, 2, 1)), nn.ConstantPad2d(1, 0.7)),
        *(nn.CircularPad2d(1), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2), nn.LPPool2d(2, 2)),
        *(nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d((4, None)), nn.AdaptiveMaxPool2d(3)),
        *(nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2), nn.Unfold(3, padding=1), nn.LocalResponseNorm(2)),
        *(nn.Conv2d(4, 6, 4, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.Dropout(), Looked()),
        *(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate")),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2, dilation=2),
    )
}
OF_SIGNALS: dict[str, Function] = {
    str(layer): layer
    for layer in (
        *(nn.ReflectionPad1d(2), nn.ReplicationPad1d(2), nn.CircularPad1d(2), nn.MaxPool1d(3, 2, 1), nn.AdaptiveMaxPool1d(4)),
        *(nn.AvgPool1d(3, 2, 1, ceil_mode=True), nn.AdaptiveAvgPool1d(5), nn.Conv1d(4, 5, 3), nn.ConvTranspose1d(4, 5, 4, 2, 1)),
        *(nn.Upsample(20, mode="linear"), nn.Upsample(scale_factor=2)),
    )
}
OF_VOLUMES: dict[str, Function] = {
    str(layer): layer
    for layer in (
        *(nn.ReflectionPad3d(1), nn.ReplicationPad3d(1), nn.CircularPad3d(1), nn.MaxPool3d(2), nn.AvgPool3d(2, 1, 1)),
        *(nn.AdaptiveAvgPool3d(2), nn.AdaptiveMaxPool3d(2), nn.ConvTranspose3d(4, 3, 2, 2)),
        *(nn.Upsample(scale_factor=2, mode="trilinear"), nn.Upsample(scale_factor=2)),
    )
}
RESIZING: dict[str, Function] = {
    f"{mode} {name}": resized(mode=mode, **how)
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
    for name, how in {
        "up": {"size": (9, 11)},
        "twice": {"scale_factor": 2},
        "down": {"size": (4, 3)},
        "by a half more": {"scale_factor": 1.5},
        **({"aligned": {"size": (9, 11), "align_corners": True}} if mode in ("bilinear", "bicubic") else {}),
        **({"antialiased": {"size": (4, 3), "antialias": True}} if mode in ("bilinear", "bicubic") else {}),
    }.items()
}
ARITHMETIC: dict[str, Function] = {
    "subtracted": lambda y: 1 - y,
    "subtracted with a factor": lambda y: torch.rsub(y, 2, alpha=3),
    "divided": lambda y: 1 / (2 + y.abs()),
    "reciprocal": lambda y: (1 + y.abs()).reciprocal(),
    "lerp": lambda y: torch.lerp(y, y.flip(1), 0.3),
    "lerp by a tensor": lambda y: torch.lerp(y, y.flip(1), torch.sigmoid(y)),
    "addcmul": lambda y: torch.addcmul(y, y, y, value=0.5),
    "addcdiv": lambda y: torch.addcdiv(y, y, y.abs() + 1, value=0.5),
    "squared": lambda y: y**2,
    "to the half": lambda y: (y.abs() + 0.1) ** 0.5,
    "power of two": lambda y: 2**y,
    "power": lambda y: (y.abs() + 0.5) ** y,
    "root": lambda y: (y.abs() + 0.01).sqrt(),
    "inverse root": lambda y: (y.abs() + 0.1).rsqrt(),
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": lambda y: (1.5 + y.abs()).log(),
    "log1p": lambda y: y.abs().log1p(),
    "log2": lambda y: (1 + y.abs()).log2(),
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "atan2": lambda y: torch.atan2(y, 1 + y.abs()),
    "asinh": torch.asinh,
    "sinh": torch.sinh,
    "erf": torch.erf,
    "logit": lambda y: torch.logit(torch.sigmoid(y)),
    "logaddexp": lambda y: torch.logaddexp(y, -y),
    "sign": lambda y: y.sign() * 0.3,
    "heaviside": lambda y: torch.heaviside(y, torch.tensor(0.5)),
    "floor": lambda y: (y * 4).floor() / 4,
    "ceil": lambda y: (y * 4).ceil() / 4,
    "round": lambda y: (y * 4).round() / 4,
    "trunc": lambda y: (y * 4).trunc() / 4,
    "frac": lambda y: (y * 2).frac(),
    "fmod": lambda y: torch.fmod(y, 0.3),
    "remainder": lambda y: y % 0.3,
    "floor divide": lambda y: y // 0.25,
    "nan to num": torch.nan_to_num,
    "clamp": lambda y: y.clamp(-0.2, 0.4),
    "clamp by a tensor": lambda y: torch.clamp(y, min=y.mean(1, keepdim=True)),
    "clip": lambda y: y.clip(max=0.3),
    "maximum": lambda y: torch.maximum(y, y.flip(1)),
    "matmul": lambda y: y @ y.transpose(-1, -2),
    "bmm": lambda y: torch.bmm(y.flatten(2), y.flatten(2).transpose(1, 2)),
    "baddbmm": lambda y: torch.baddbmm(y.flatten(2)[..., :4], y.flatten(2), y.flatten(2).transpose(1, 2), beta=0.5, alpha=0.1),
    "tensordot": lambda y: torch.tensordot(y, ramp(6, 3), ([3], [0])),
    "convolution with a weight of its own": lambda y: F.conv2d(y, ramp(4, 4, 3, 3), padding=1),
    "einsum": lambda y: torch.einsum("bchw,bdhw->bcd", y, y),
    "einsum of one": lambda y: torch.einsum("bchw->bc", y),
    "cosine similarity": lambda y: F.cosine_similarity(y, y.flip(1), dim=1),
    "distance": lambda y: F.pairwise_distance(y, y.flip(1)),
    "cross": lambda y: torch.cross(y[:, :3], y[:, 1:], dim=1),
    "determinant": lambda y: torch.det(y + 3 * torch.eye(6)) * 1e-3,
    "spectrum": lambda y: torch.fft.rfft2(y).abs() * 0.2,
}
REDUCTIONS: dict[str, Function] = {
    "mean": lambda y: y.mean((2, 3)),
    "sum": lambda y: y - y.sum(1, keepdim=True),
    "prod": lambda y: (1 + 0.1 * y).prod(1),
    "var": lambda y: y.var(1),
    "std": lambda y: y.std((2, 3), keepdim=True),
    "var and mean": lambda y: torch.var_mean(y, 1)[0],
    "logsumexp": lambda y: y.logsumexp(1),
    "norm": lambda y: y.norm(dim=1),
    "vector norm": lambda y: torch.linalg.vector_norm(y, dim=1),
    "normalised": lambda y: F.normalize(y, dim=1),
    "cumsum": lambda y: y.cumsum(2),
    "logcumsumexp": lambda y: y.logcumsumexp(1),
    "diff": lambda y: y.diff(dim=2),
    "sort": lambda y: y.sort(1).values,
    "sort from above": lambda y: y.sort(-1, descending=True)[0],
    "argsort": lambda y: y.gather(1, y.argsort(1)),
    "topk": lambda y: y.topk(2, 1).values,
    "max": lambda y: y.max(1).values,
    "where the max is": lambda y: y.max(1).indices.float(),
    "min": lambda y: y.min(2, keepdim=True)[0],
    "amax": lambda y: y.amax((2, 3)),
    "aminmax": lambda y: torch.aminmax(y, dim=1)[1],
    "argmax": lambda y: y.argmax(1).float(),
    "any": lambda y: (y > 0.3).any(1).float(),
    "all": lambda y: (y > -0.3).all(1).float(),
    "counted": lambda y: (y > 0.2).sum(1).float(),
    "unpooled": lambda y: F.max_unpool2d(*F.max_pool2d(y, 2, return_indices=True), 2),
}
CHOICES: dict[str, Function] = {
    "greater": lambda y: (y > 0.1).float(),
    "at most": lambda y: (y <= 0.1) * y,
    "equal": lambda y: y * (y == 0) + y,
    "unequal": lambda y: (y != 0) * 1.0,
    "logical": lambda y: ((y > 0) & ~(y > 0.5) | (y < -0.5)).float(),
    "where": lambda y: torch.where(y > 0, y, 0.25 * y),
    "where of numbers": lambda y: torch.where(y > 0, 0.9, -0.5),
    "masked fill": lambda y: y.masked_fill(y > 0.5, 0.5),
    "bucketize": lambda y: torch.bucketize(y, torch.tensor([-0.3, 0.0, 0.3])).float() * 0.3,
    "one hot": lambda y: F.one_hot(y.argmax(1), 4).float(),
    "scatter": lambda y: torch.zeros_like(y).scatter(1, y.argmax(1, keepdim=True), 1.0),
    "scatter add": lambda y: torch.zeros_like(y).scatter_add(1, y.argsort(1), y),
}
LAYOUT: dict[str, Function] = {
    "negative pad": lambda y: F.pad(y, (-1, -1, 0, -1)),
    "fold": lambda y: F.fold(F.unfold(y, 2, stride=2), (6, 6), 2, stride=2),
    "unfold": lambda y: y.unfold(2, 3, 1),
    "roll": lambda y: y.roll((1, -1), (2, 3)),
    "flip": lambda y: y.flip((2, 3)),
    "rot90": lambda y: y.rot90(1, (2, 3)),
    "tile": lambda y: y.tile(1, 2, 1, 1),
    "repeat": lambda y: y.repeat(1, 1, 2, 1),
    "repeat interleave": lambda y: y.repeat_interleave(2, 1),
    "tril": torch.tril,
    "triu": lambda y: torch.triu(y, 1),
    "diagonal": lambda y: y.diagonal(0, 2, 3),
    "gather": lambda y: y.gather(1, torch.tensor([0, 2, 1]).view(1, 3, 1, 1).expand(y.shape[0], 3, 6, 6)),
    "index select": lambda y: y.index_select(1, torch.tensor([3, 0, 1])),
    "a list of indices": lambda y: y[:, [2, 0, 1]],
    "a list of last indices": lambda y: y[..., [5, 0]],
    "slices": lambda y: y[..., 1:-1, ::2],
    "index add": lambda y: torch.zeros_like(y).index_add(1, torch.tensor([0, 1, 0, 1]), y),
    "unbind": lambda y: sum(y.unbind(1)),
    "tensor split": lambda y: torch.cat(y.tensor_split(3, 1)[::-1], 1),
    "chunk": lambda y: y.chunk(2, 1)[0] * y.chunk(2, 1)[1],
    "split": lambda y: y.split([1, 3], 1)[1],
    "stack": lambda y: torch.stack([y, 2 * y], 2),
    "swapaxes": lambda y: y.swapaxes(1, 2),
    "movedim": lambda y: y.movedim(1, -1),
    "squeeze": lambda y: y[:, :1].squeeze(1),
    "unflatten": lambda y: y.unflatten(1, (2, 2)),
    "blocks": blocks,
    "expand as": lambda y: y + y[:, :1].expand_as(y),
    "broadcast": lambda y: y[:, :1].broadcast_to(y.shape),
    "written in place": written,
}
CONSTANTS: dict[str, Function] = {
    "meshgrid": lambda y: y + torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")[0] * 0.05,
    "linspace": lambda y: y + torch.linspace(0, 0.5, 6),
    "arange": lambda y: y * torch.arange(6) * 0.1,
    "new tensor": lambda y: y * y.new_tensor([0.3]),
    "full like": lambda y: y + torch.full_like(y, 0.1),
    "size of a sample": lambda y: y.sum((1, 2, 3), keepdim=True) / y[0].numel() + y,
}
TYPES: dict[str, Function] = {
    "float64 and back": lambda y: (y.double() / 3).float(),
    "half and back": lambda y: (y / 3).half().float(),
    "bfloat16 and back": lambda y: y.bfloat16().float(),
    "integers": lambda y: (y * 3).int().float() * 0.3,
    "integers times a number": lambda y: (y * 3).long() * 0.3,
    "bytes": lambda y: (y.abs() * 3).to(torch.uint8).float(),
    "bits": lambda y: ((y * 3).long() & 1).float(),
    "booleans times a number": lambda y: (y > 0.2).bool() * 0.7,
    "type of another": lambda y: (y > 0).type_as(y),
}
OF_TOKENS: dict[str, Function] = {
    "attention": attended,
    "causal attention": lambda y: attended(y, is_causal=True),
    "masked attention": lambda y: attended(y, attn_mask=torch.ones(6, 6).tril().bool()),
    "scaled attention": lambda y: attended(y, scale=0.3),
    "MultiheadAttention": SelfAttention(),
}
OF_VECTORS: dict[str, Function] = {
    "addmm": lambda y: torch.addmm(y, y, torch.eye(12) * 0.5),
    "mm": lambda y: y.mm(ramp(12, 12)),
    "linear": lambda y: F.linear(y, ramp(12, 12)),
    "outer": lambda y: y.unsqueeze(2) * y.unsqueeze(1),
}
OF_MAPS = {
    name: function
    for table in (ACTIVATIONS, LAYERS, RESIZING, ARITHMETIC, REDUCTIONS, CHOICES, LAYOUT, CONSTANTS, TYPES)
    for name, function in table.items()
}
OPERATORS: dict[str, tuple[Function, str]] = {
    f"{name} of a {kind}": (function, kind)
    for kind, table in {
        **{"map": OF_MAPS, "signal": OF_SIGNALS, "volume": OF_VOLUMES},
        **{"vector": OF_VECTORS, "tokens": OF_TOKENS},
    }.items()
    for name, function in table.items()
}


@pytest.mark.sample(5)
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_verified_in_every_format(name: str, tmp_path: Path) -> None:
    function, kind = OPERATORS[name]
    source = source_of(Around(function, SHAPES[kind]), shape=(7,))
    verified(source, tmp_path, inputs(source, 8), in_turn(OPERATORS, name))


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["topk", "at most", "logical", "chunk", "unpooled", "where of numbers", "bits"])
def test_an_operator_is_verified_against_a_program_that_was_saved(name: str, tmp_path: Path) -> None:
    source = source_of(Around(OF_MAPS[name], SHAPES["map"]), shape=(7,))
    pt2.save(source.program, tmp_path / "net.pt2")
    saved = Source(pt2.load(tmp_path / "net.pt2"), None)
    assert Magnitudes(saved.program).unruled == Magnitudes(source.program).unruled
    verified(saved, tmp_path, inputs(saved, 8), in_turn(OF_MAPS, name))


def test_a_layer_of_a_transformer_is_verified_with_its_norms_kept(tmp_path: Path) -> None:
    source = source_of(Around(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), SHAPES["tokens"]), shape=(7,))
    origin = replace(source.program.origin, keep_norms=("layer",))
    source = replace(source, program=replace(source.program, origin=origin))
    verified(source, tmp_path, inputs(source, 8), (ARTIFACTS[0], ARTIFACTS[3]))


UNTRANSLATED: dict[str, Function] = {
    "cummax": lambda y: y.cummax(2).values,
    "kthvalue": lambda y: y.kthvalue(2, 1).values,
    "median": lambda y: y.median(1).values,
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", UNTRANSLATED)
def test_what_torch_cannot_translate_is_refused_by_name_and_verified_as_torchscript(name: str, tmp_path: Path) -> None:
    source = source_of(Around(UNTRANSLATED[name], SHAPES["map"]), shape=(7,))
    with pytest.raises(Refused, match=rf"torch has no ONNX translation of aten\.{name}; TorchScript may"):
        encode(fold(source.program), format_of(Path("net.onnx")), "sequence")
    verified(source, tmp_path, inputs(source, 8), (("n.ts", "sequence"),))
