"""The rounding bound holds for correct computations and is not so wide that it holds for wrong ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snnconv.nn import LIF
from snnconv.verify.rounding import Magnitudes, bound
from tests.networks import SHAPE, source_of


def magnitudes(net: nn.Module, x: torch.Tensor) -> Magnitudes:
    program = source_of(net, timesteps=1).program
    spikes = {name: torch.zeros(len(x), *neuron.shape) for name, neuron in program.neurons.items()}
    found = Magnitudes(program)
    with torch.no_grad():
        found.measure([x], {name: [fired] for name, fired in spikes.items()})
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
        norm.running_mean.copy_(torch.tensor([3.0, -2.0]))
        norm.running_var.copy_(torch.tensor([4.0, 0.25]))
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


Operator = Callable[[Tensor, Tensor], Tensor]
Magnitude = Callable[[np.ndarray], np.ndarray]


class Fn(nn.Module):
    """An operator on x and `C3`, and the sum of absolute products that it computes, in plain loops over `[B, C, H, W]`."""

    def __init__(self, call: Operator, magnitude: Magnitude, terms: int = 1) -> None:
        super().__init__()
        self.call, self.magnitude, self.terms = call, magnitude, terms
        self.register_buffer("c", C3.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, self.c)


C3 = torch.tensor([-0.5, 2.0, 1e-3]).view(3, 1, 1)
W = C3.abs().double().numpy()


def averaged(m: np.ndarray, rows: list[range], columns: list[range], divisor: int | None = None) -> np.ndarray:
    """The sum over each window, by what it holds or by `divisor`, entry by entry."""
    out = np.zeros((*m.shape[:2], len(rows), len(columns)))
    for i, window in enumerate(rows):
        for j, across in enumerate(columns):
            for b in range(len(m)):
                for c in range(m.shape[1]):
                    inside = [m[b, c, y, x] for y in window for x in across if 0 <= y < m.shape[2] and 0 <= x < m.shape[3]]
                    out[b, c, i, j] = sum(inside) / abs(divisor or len(window) * len(across))
    return out


def windows(size: int, kernel: int, stride: int, padding: int) -> list[range]:
    starts = range(-padding, size + padding - kernel + 1, stride)
    return [range(start, start + kernel) for start in starts]


def adaptive(size: int, out: int) -> list[range]:
    return [range(i * size // out, math.ceil((i + 1) * size / out)) for i in range(out)]


def pool(kernel: int, stride: int, padding: int, divisor: int | None = None) -> Fn:
    def magnitude(m: np.ndarray) -> np.ndarray:
        return averaged(m, *(windows(size, kernel, stride, padding) for size in m.shape[2:]), divisor=divisor)

    layer = nn.AvgPool2d(kernel, stride, padding, divisor_override=divisor)
    return Fn(lambda x, c: layer(x), magnitude, kernel * kernel + 1)


def adaptive_pool(out: int) -> Fn:
    longest = max(len(window) for window in adaptive(6, out))

    def magnitude(m: np.ndarray) -> np.ndarray:
        return averaged(m, *(adaptive(size, out) for size in m.shape[2:]))

    return Fn(lambda x, c: nn.functional.adaptive_avg_pool2d(x, out), magnitude, longest * longest + 1)


OPERATORS: dict[str, Callable[[], Fn]] = {
    "add with alpha": lambda: Fn(lambda x, c: torch.add(x, c, alpha=-1), lambda m: m + W, 2),
    "subtract with a negative alpha": lambda: Fn(lambda x, c: torch.sub(x, x, alpha=-3), lambda m: 4 * m, 2),
    "add a negative number": lambda: Fn(lambda x, c: x + -3.0, lambda m: m + 3),
    "subtract a negative number": lambda: Fn(lambda x, c: torch.sub(x, -0.5), lambda m: m + 0.5),
    "a number less": lambda: Fn(lambda x, c: 2 - x, lambda m: m + 2),
    "times a negative number": lambda: Fn(lambda x, c: x * -1.5, lambda m: m * 1.5),
    "by a number": lambda: Fn(lambda x, c: x / -3, lambda m: m / 3),
    "by a constant": lambda: Fn(lambda x, c: x / c, lambda m: m / W),
    "padded with a negative number": lambda: Fn(
        lambda x, c: nn.functional.pad(x, (1, 0), value=-2.0)[..., :-1],
        lambda m: np.concatenate([np.full_like(m[..., :1], 2.0), m[..., :-1]], -1),
    ),
    "PReLU": lambda: Fn(lambda x, c: nn.functional.prelu(x, c.flatten()), lambda m: np.maximum(m, m * W)),
    "wide window": lambda: pool(5, 1, 2),
    "negative divisor": lambda: pool(3, 1, 1, -4),
    "adaptive": lambda: adaptive_pool(4),
    "mean over channels": lambda: Fn(lambda x, c: x.mean(1, keepdim=True) + x, lambda m: m.mean(1, keepdims=True) + m, 4 + 1),
    "sum over places": lambda: Fn(
        lambda x, c: x.sum((2, 3), keepdim=True) - x, lambda m: m.sum((2, 3), keepdims=True) + m, 37 + 1
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_has_the_magnitude_and_the_terms_of_a_plain_loop(name: str) -> None:
    fn = OPERATORS[name]()
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    found = measured([fn], x)
    expected = fn.magnitude(x.abs().double().numpy())
    np.testing.assert_allclose(found.current["1"].numpy(), expected, rtol=1e-5)
    assert found.terms["1"] >= fn.terms


@settings(max_examples=12, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(set(OPERATORS) - {"adaptive"})), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_float32_stays_within_the_bound_and_no_magnitude_is_too_small(names: list[str], seed: int) -> None:
    fns = [OPERATORS[name]() for name in names]
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    found = measured(fns, x)
    magnitude, y, exact = x.abs().double().numpy(), x, x.double()
    for fn in fns:
        magnitude, y, exact = fn.magnitude(magnitude), fn(y), copy.deepcopy(fn).double()(exact)
    name = str(len(fns))
    assert bool((found.current[name].double() >= torch.from_numpy(magnitude) * (1 - 1e-5)).all())
    assert bool(((y - exact).abs() <= bound(found.current[name], found.terms[name]) / 2).all())


def measured(layers: list[Fn], x: Tensor) -> Magnitudes:
    """The magnitudes of a neuron behind these layers."""
    net = nn.Sequential(*layers, LIF(), nn.Flatten())
    program = source_of(net, timesteps=1, shape=tuple(x.shape[1:])).program
    found = Magnitudes(program)
    with torch.no_grad():
        found.measure([x], {name: [torch.zeros(len(x), *neuron.shape)] for name, neuron in program.neurons.items()})
    return found


def test_the_errors_of_both_factors_of_a_product_count() -> None:
    assert measured([Fn(lambda x, c: x * c * x, lambda m: m)], torch.rand(1, 3, 6, 6)).terms["1"] == 1 + 0 + 1
    assert measured([Fn(lambda x, c: (y := x * c) * y, lambda m: m)], torch.rand(1, 3, 6, 6)).terms["1"] == 1 + 1 + 1


def test_three_dimensional_pools_count_their_windows() -> None:
    def through(layer: nn.Module) -> int:
        net = nn.Sequential(layer, LIF(), nn.Flatten())
        program = source_of(net, timesteps=1, shape=(2, 4, 4, 4)).program
        found = Magnitudes(program)
        found.measure([torch.rand(1, 2, 4, 4, 4)], {"1": [torch.zeros(1, *program.neurons["1"].shape)]})
        return found.terms["1"]

    assert through(nn.AvgPool3d(2)) == 2**3 + 1 and through(nn.AdaptiveAvgPool3d(3)) == 2**3 + 1 and through(nn.MaxPool3d(2)) == 1
