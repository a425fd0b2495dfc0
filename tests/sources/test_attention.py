"""A block of a spiking transformer: attention by products inside one time step passes through, but for its norms."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.nn import LIF, MPBN
from tests.adapters.conversions import ARTIFACTS, loaded, mixed_signs, verified
from tests.norms import settled

_ATEN = torch.ops.aten
PRODUCTS = (_ATEN.matmul.default, _ATEN.mul.Tensor)


class Attention(nn.Module):
    """Spiking self-attention as Spikformer has it (arXiv 2209.15425): (q k^T) v * scale of spikes, no softmax."""

    def __init__(self, channels: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.parts = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv1d(channels, channels, 1, bias=False), nn.BatchNorm1d(channels), LIF(norm=MPBN(channels))
                )
                for name in "qkv"
            }
        )
        self.spike = LIF(threshold=0.25)
        self.project = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels), LIF())

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `[B, C, N]` in and out."""
        q, k, v = (part(x).unflatten(1, (self.heads, -1)).transpose(2, 3) for part in self.parts.values())
        mixed = (q @ k.transpose(2, 3)) @ v * 0.125
        return self.project(self.spike(mixed.transpose(2, 3).flatten(1, 2)))


class Transformer(nn.Module):
    timesteps, input_shape = 4, (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(2, 8, 2, stride=2, bias=False), nn.BatchNorm2d(8), LIF())
        self.attention, self.head = Attention(8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2)
        return self.head((tokens + self.attention(tokens)).mean(2))


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return settled(mixed_signs(Transformer()), 1)


def test_a_spiking_transformer_is_equivalent_and_keeps_its_products(tmp_path: Path) -> None:
    source = loaded(transformer(), f"{__name__}:transformer", tmp_path)
    before, after = ([n.target for n in program.graph.graph.nodes] for program in (source.program, fold(source.program)))
    assert not fold(source.program).holds_norms
    assert [target for target in after if target in PRODUCTS] == [target for target in before if target in PRODUCTS]
    x = torch.rand(12, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    for found in verified(source, tmp_path, x, (ARTIFACTS[0], ARTIFACTS[3])):
        assert sum(tally.spikes_reference > 0 for tally in found.layers[:-1]) >= 4
