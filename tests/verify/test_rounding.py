"""The rounding bound holds for correct computations and is not so wide that it holds for wrong ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnconv.errors import Refused
from snnconv.nn import LIF
from snnconv.verify.rounding import Magnitudes, bound
from tests.networks import SHAPE, source_of


def magnitudes(net: nn.Module, x: torch.Tensor) -> Magnitudes:
    program = source_of(net, timesteps=1).program
    spikes = {name: torch.zeros(len(x), *neuron.shape) for name, neuron in program.neurons.items()}
    found = Magnitudes(program)
    with torch.no_grad():
        found.measure(x, spikes)
    return found


def test_the_magnitude_is_the_sum_of_absolute_products() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(4, *SHAPE)
    found = magnitudes(nn.Sequential(conv, LIF(), nn.Flatten(), nn.Linear(192, 2)), x)
    assert conv.bias is not None
    expected = nn.functional.conv2d(x.abs(), conv.weight.abs(), conv.bias.abs(), padding=1)
    torch.testing.assert_close(found.current["1"], expected)
    assert found.terms["1"] == 2 * 9 + 1


def test_a_norm_counts_its_mean_and_shift_at_full_size() -> None:
    norm = nn.BatchNorm2d(2).eval()
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([3.0, -2.0]))  # type: ignore[union-attr]
        norm.running_var.copy_(torch.tensor([4.0, 0.25]))  # type: ignore[union-attr]
        norm.weight.copy_(torch.tensor([-1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.5, -0.5]))
    x = torch.randn(1, *SHAPE)
    found = magnitudes(nn.Sequential(norm, LIF(), nn.Flatten(), nn.Linear(128, 2)), x)
    mean, scale = torch.tensor([3.0, 2.0]).view(2, 1, 1), torch.tensor([0.5, 4.0]).view(2, 1, 1)
    torch.testing.assert_close(found.current["1"], scale * (x.abs() + mean) + 0.5, rtol=1e-4, atol=0)


@pytest.mark.parametrize("terms", [9, 576, 4608])
def test_float32_sums_stay_well_within_the_bound(terms: int) -> None:
    generator = torch.Generator().manual_seed(terms)
    w, x = torch.randn(2000, terms, generator=generator), torch.rand(terms, generator=generator)
    error = ((w @ x).double() - w.double() @ x.double()).abs()
    assert bool((error <= bound(w.abs() @ x, terms) / 2).all())


def test_a_weight_that_is_a_fifth_too_large_is_outside() -> None:
    generator = torch.Generator().manual_seed(0)
    w, x = torch.randn(2000, 576, generator=generator), torch.rand(576, generator=generator)
    damaged = w.clone()
    damaged[:, 5] *= 1.2
    error = ((damaged - w).double() @ x.double()).abs()
    assert bool((error > bound(w.abs() @ x, 576)).float().mean() > 0.9)


def test_an_operator_without_a_bound_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = LIF()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(torch.sin(x)).flatten(1)

    with pytest.raises(Refused, match="no rounding bound is known"):
        magnitudes(Odd(), torch.rand(1, *SHAPE))
