"""Every constant of a lowered network is in its artifact under its own name, whatever an exporter would make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.export.simplified_onnx import ensure_held
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram, put, tensors
from snnconv.lower import lower
from snnconv.nn import LIF
from snnconv.results.verdict import Verdict, judge
from snnconv.verify import Plan, Reference, verify
from tests.artifacts import artifact, written
from tests.networks import inputs, source_of

SHAPE = (2, 4, 4)


class Computed(nn.Module):
    """A convolution whose weight `compute` makes of the stored one, a norm behind it, a read-out."""

    def __init__(self, compute: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (3, 2, 3, 3), norm: bool = True) -> None:
        super().__init__()
        self.compute, self.weight = compute, nn.Parameter(torch.empty(shape))
        self.norm, self.act, self.head = nn.BatchNorm2d(3) if norm else nn.Identity(), LIF(threshold=0.2), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.norm(nn.functional.conv2d(x, self.compute(self.weight)))).flatten(1))


class Tokens(nn.Module):
    """On `[B, N, C]`: a linear layer read twice, a fused weight that is cut and transposed, a slope for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.fused, self.act = nn.Linear(4, 4), nn.Parameter(torch.empty(8, 4)), LIF(threshold=0.1)
        self.slope, self.head = nn.Parameter(torch.empty(4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.one(x.flatten(1, 2)))
        q, k = self.fused.chunk(2)
        x = self.act(nn.functional.prelu(nn.functional.linear(x, q), self.slope[:1]) + x @ k.T * self.slope)
        return self.head(x.mean(1))


def standardised(weight: Tensor) -> Tensor:
    return (weight - weight.mean((1, 2, 3), keepdim=True)) / (weight.std((1, 2, 3), keepdim=True) + 1e-5)


def normed(kind: Callable[..., nn.Module]) -> nn.Module:
    return nn.Sequential(kind(nn.Conv2d(2, 3, 3)), nn.BatchNorm2d(3), LIF(threshold=0.2), nn.Flatten(), nn.Linear(12, 2))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: normed(nn.utils.parametrizations.weight_norm),
    "spectral norm": lambda: normed(nn.utils.parametrizations.spectral_norm),
    "standardised": lambda: Computed(standardised, norm=False),
    "transposed": lambda: Computed(lambda w: w.transpose(0, 1), (2, 3, 3, 3)),
    "reshaped": lambda: Computed(lambda w: w.view(3, 2, 3, 3), (3, 18), norm=False),
    "read twice": lambda: Computed(lambda w: w.clamp(-0.3, 0.3) * w),
    "tokens": Tokens,
}


def settled(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.rand(value.shape, generator=generator) - 0.4)
    return net.eval()


def program(name: str) -> SpikingProgram:
    return fold(source_of(settled(NETWORKS[name]()), timesteps=2, shape=SHAPE).program)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", NETWORKS)
def test_both_formats_hold_every_constant_by_name_and_bits(name: str, tmp_path: Path) -> None:
    folded = program(name)
    for suffix in (".onnx", ".ts"):
        held = artifact(folded, tmp_path / f"net{suffix}", "sequence").constants()
        for path, value in lower(folded, "sequence").constants().items():
            assert torch.equal(held[path], value), path


def test_a_computed_weight_is_one_constant_at_the_place_of_the_weight() -> None:
    assert set(tensors(program("weight norm").graph)) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    assert set(tensors(program("tokens").graph)) >= {"one.weight", "slope", "head.weight"}


def verified(name: str, path: Path, broken: str | None = None) -> Verdict:
    source = source_of(settled(NETWORKS[name]()), timesteps=2, shape=SHAPE)
    folded = fold(source.program)
    if broken is not None:
        put(folded.graph, broken, tensors(folded.graph)[broken] * (1 + 2**-20))
    data = Data(inputs(source, 2), None, "noise")
    return judge(
        verify(
            Reference(source), open_candidate(written(folded, path)), data, ("s", "c"), Plan(("proof", "algebra", "deployment"))
        )
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["spectral norm", "standardised", "tokens"])
def test_a_computed_weight_is_proven_against_a_float64_one(name: str, tmp_path: Path) -> None:
    found = verified(name, tmp_path / "net.onnx")
    assert found.equivalent, found.faults


def test_a_computed_weight_that_is_a_little_off_is_not_equivalent(tmp_path: Path) -> None:
    assert not verified("spectral norm", tmp_path / "net.onnx", "0.weight").equivalent


def test_an_exporter_that_drops_or_changes_a_constant_is_noticed() -> None:
    held = ir.Value(name="a.weight", const_value=ir.tensor(torch.ones(2).numpy()))
    graph = ir.Graph([], [], nodes=[], initializers=[held], opset_imports={"": 18})
    model = ir.Model(graph, ir_version=10)
    ensure_held(model, {"a.weight": torch.ones(2)})
    with pytest.raises(RuntimeError, match=r"dropped or renamed b\.weight"):
        ensure_held(model, {"b.weight": torch.ones(2)})
    with pytest.raises(RuntimeError, match=r"changed a\.weight"):
        ensure_held(model, {"a.weight": torch.zeros(2)})
