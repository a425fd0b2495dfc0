"""Pools that ONNX does not have as torch has them become pools that it has, with the same output."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import nn

from snnconv.errors import Refused
from snnconv.export import FORMATS, encode
from snnconv.fold import fold
from snnconv.fold.plain_pools import PlainPools
from snnconv.ir.program import SpikingProgram
from snnconv.nn import LIF
from tests.networks import program_of

POOLS = {
    "divisor": nn.AvgPool2d(3, 2, 1, divisor_override=5),
    "negative divisor": nn.AvgPool2d(2, divisor_override=-3, count_include_pad=False),
    "divisor and a window over the border": nn.AvgPool2d((3, 2), 3, 1, ceil_mode=True, divisor_override=4),
    "average that drops a window": nn.AvgPool2d((3, 2), 3, ceil_mode=True),
    "maximum that drops a window": nn.MaxPool2d(2, 4, 1, ceil_mode=True),
}


def pooled(pool: nn.Module, size: tuple[int, int] = (6, 9)) -> SpikingProgram:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 1), LIF(threshold=0.1), pool, nn.Flatten()).eval()
    return program_of(net, timesteps=2, shape=(2, *size))


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", POOLS)
def test_a_pool_computes_in_onnx_what_it_does_in_torch(name: str) -> None:
    program = pooled(POOLS[name])
    x, folded = torch.rand(2, 2, 6, 9, generator=torch.Generator().manual_seed(1)), fold(program)
    encoded = encode(folded, FORMATS["onnx"])
    session = onnxruntime.InferenceSession(encoded, providers=["CPUExecutionProvider"])
    expected = program.run(x)
    torch.testing.assert_close(folded.run(x), expected)
    torch.testing.assert_close(torch.from_numpy(session.run(["y"], {"x": x.numpy()})[0]), expected)


@pytest.mark.parametrize("size", [(7, 8), (8, 9), (5, 5)])
def test_a_window_over_the_border_counts_zeros(size: tuple[int, int]) -> None:
    program = pooled(nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=7), size)
    x = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fold(program).run(x), program.run(x))


def test_a_pool_that_drops_a_window_at_one_side_only_is_refused_by_name() -> None:
    folded = fold(pooled(nn.AvgPool2d((3, 2), (2, 3), (1, 0), ceil_mode=True)))
    with pytest.raises(Refused, match=r"ONNX cannot hold the network: .*AveragePool"):
        encode(folded, FORMATS["onnx"])


def test_a_usual_pool_is_left_alone() -> None:
    program = pooled(nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False))
    assert fold(program).graph.code == program.graph.code


def test_the_pass_checks_itself() -> None:
    with pytest.raises(RuntimeError, match="plain-pools left"):
        PlainPools().ensures(pooled(POOLS["divisor"]))
