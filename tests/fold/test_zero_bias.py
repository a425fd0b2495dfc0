"""Biases of nothing but zeros are in no folded program, and so in no artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from snnconv.data import synthetic
from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.fold.zero_bias import DropZeroBias
from snnconv.ir.program import tensors
from snnconv.nn import LIF, PSPNorm
from snnconv.results.verdict import judge
from snnconv.verify import Reference, verify
from tests.networks import program_of, source_of
from tests.norms import settled


def silent_bias() -> nn.Module:
    """A convolution whose PSP norm leaves no shift, and two layers that were given a bias of zeros."""
    layers = (nn.Conv2d(2, 3, 3, bias=False), PSPNorm(3), LIF(), nn.Conv2d(3, 3, 3), LIF(), nn.Flatten(), nn.Linear(48, 2))
    net = settled(nn.Sequential(*layers))
    with torch.no_grad():
        net[3].bias.zero_()
        net[6].bias.zero_()
    return net


def test_no_zero_bias_is_left() -> None:
    folded = fold(program_of(silent_bias()))
    assert [path for path in tensors(folded.graph) if path.endswith("bias")] == []


def test_a_bias_with_one_value_stays() -> None:
    net = silent_bias()
    with torch.no_grad():
        net[3].bias[1] = 1e-30
    assert [path for path in tensors(fold(program_of(net)).graph) if path.endswith("bias")] == ["3.bias"]


def test_the_pass_checks_itself() -> None:
    program = program_of(silent_bias())
    with pytest.raises(RuntimeError, match="zero-bias left"):
        DropZeroBias().ensures(program)


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["n.onnx", "n.ts"])
def test_the_proof_misses_nothing(name: str, tmp_path: Path) -> None:
    source = source_of(silent_bias())
    export(fold(source.program), tmp_path / name, format_of(tmp_path / name))
    found = judge(
        verify(Reference(source), open_candidate(tmp_path / name), synthetic(source.program.contract, samples=2), ("s", name))
    )
    assert found.equivalent, found.faults
