"""A network whose code names float32 computes in float64 where that is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnconv.nn import LIF
from tests.networks import inputs, source_of, trained

CONSTANT = torch.linspace(0.1, 0.9, 12)
CODE: dict[str, Callable[[Tensor], Tensor]] = {
    "float": lambda y: y.float() / 3,
    "to": lambda y: y.to(torch.float32) / 3,
    "zeros": lambda y: torch.zeros(y.shape[0], 12) + y / 3,
    "a number": lambda y: y * torch.tensor(0.1),
    "a new tensor": lambda y: y * y.new_tensor([0.1]),
    "a list": lambda y: y * torch.tensor([0.1, 0.7] * 6),
    "a constant outside": lambda y: y * CONSTANT,
    "a product with a constant": lambda y: y @ CONSTANT.repeat(12, 1),
    "written in place": lambda y: torch.zeros(y.shape[0], 12).add_(y / 3),
    "a comparison": lambda y: (y > 0.5).float() / 3,
}


class Named(nn.Module):
    timesteps, input_shape = 3, (6,)

    def __init__(self, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.act, self.head, self.code = nn.Linear(6, 12), LIF(threshold=0.2), nn.Linear(12, 3), code

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.code(self.act(self.fc(x))))


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_code_that_names_float32_computes_in_float64(code: Callable[[Tensor], Tensor]) -> None:
    source = source_of(trained(Named(code)), shape=(6,))
    x = inputs(source, samples=4)
    wide = source.to(torch.float64)
    y = wide.run(x.double())
    assert y.dtype is torch.float64
    torch.testing.assert_close(y, wide.program.run(x.double()), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(source.run(x), y.float(), rtol=1e-5, atol=1e-5)
