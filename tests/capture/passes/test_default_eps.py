"""An eps that follows from the type of numbers is that of the trained network in every type."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.capture.wired import assert_captured_alike


@pytest.mark.parametrize("affine", [True, False])
def test_an_rms_norm_without_an_eps_has_that_of_float32(affine: bool) -> None:
    norm = nn.RMSNorm(4, elementwise_affine=affine)
    program = assert_captured_alike(lambda m, x: m.head(m.norm(m.a(m.conv(x))).flatten(1)), norm=norm)
    (node,) = program.graph.graph.find_nodes(op="call_function", target=torch.ops.aten.rms_norm.default)
    assert node.args[3] == torch.finfo(torch.float32).eps
