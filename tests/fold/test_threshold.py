"""Folded thresholds decide like torch's batch_norm kernel, float by float around the cut and at the ends of the axis."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnconv.fold.membrane_norm import fold_neuron
from snnconv.fold.threshold import Cut, find_cut, proves, rank, unrank
from snnconv.ir.neuron import MembraneNorm, Neuron

SIZES = list(itertools.product((1, 2, 7), repeat=2))
CHANNELS = 128
ULPS = 64
SUBNORMAL, TINY, BIG = 2.0**-149, 2.0**-126, torch.finfo(torch.float32).max

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SETTINGS = st.tuples(FLOATS, FLOATS, FLOATS, FLOATS.map(abs), FLOATS)
"""gamma, beta, mean, var, threshold."""

hunt = settings(max_examples=40, deadline=None, database=None, derandomize=True)


def trained_values(seed: int, count: int) -> Tensor:
    """`[5, count]` gamma, beta, mean, var, threshold over many magnitudes, both signs, a few zeros."""
    generator = torch.Generator().manual_seed(seed)

    def spread(low: float, high: float) -> Tensor:
        magnitude = 10 ** (torch.rand(count, generator=generator) * (high - low) + low)
        return magnitude * torch.randn(count, generator=generator).sign()

    gamma, var = spread(-6, 3), spread(-8, 4).abs()
    gamma[::31], var[::37] = 0.0, 0.0
    return torch.stack([gamma, spread(-4, 2), spread(-4, 2), var, spread(-3, 1)])


def any_values(seed: int, count: int) -> Tensor:
    """`[5, count]` of any finite float32 bit patterns, subnormal and extreme ones as often as the format holds them."""
    largest = rank(torch.tensor(BIG)).item()
    ranks = torch.randint(-largest, largest + 1, (5, count), generator=torch.Generator().manual_seed(seed))
    values = unrank(ranks, torch.float32)
    values[3] = values[3].abs()
    return values


def neuron_of(values: Tensor, size: tuple[int, int], strict: bool, per_element: bool = False, eps: float = 1e-5) -> Neuron:
    """A neuron with one `(gamma, beta, mean, var, threshold)` per channel, or per element of `[-1, *size]`."""
    if per_element:
        values = values[:, : values.shape[1] // math.prod(size) * math.prod(size)].view(5, -1, *size)
    gamma, beta, mean, var, threshold = values
    shape = (len(gamma), *size)
    threshold = threshold if per_element else threshold.view(-1, 1, 1)
    zero = torch.zeros((), dtype=values.dtype)
    return Neuron(threshold, zero, zero, strict=strict, norm=MembraneNorm(mean, var, gamma, beta, eps), shape=shape)


def probes(cut: Tensor) -> Tensor:
    """`[K, *cut]`: every float within 64 ulp of the cut, both zeros, the smallest subnormals, the largest floats."""
    info = torch.finfo(cut.dtype)
    largest = rank(torch.tensor(info.max, dtype=cut.dtype))
    offsets = torch.arange(-ULPS, ULPS + 1).view(-1, *[1] * cut.dim())
    near = unrank((rank(cut) + offsets).clamp(-largest, largest), cut.dtype)
    smallest = unrank(torch.tensor([-1, 1]), cut.dtype)
    special = torch.cat([torch.tensor([0.0, -0.0, info.max, info.min], dtype=cut.dtype), smallest])
    return torch.cat([near, special.view(-1, *[1] * cut.dim()).expand(-1, *cut.shape)])


def assert_folds_exactly(neuron: Neuron) -> Neuron:
    """Fold, and compare every decision around the cut in both memory layouts."""
    folded = fold_neuron(neuron)
    assert folded.norm is None and folded.strict
    u = probes(folded.threshold).expand(-1, *neuron.shape)
    for layout in (torch.contiguous_format, torch.channels_last):
        laid = u.contiguous(memory_format=layout)
        wrong = folded.fires(laid) != neuron.fires(laid)
        assert not wrong.any(), f"{int(wrong.sum())} wrong decisions, {layout}, first at {wrong.nonzero()[0].tolist()}"
    return folded


@hunt
@given(st.integers(0, 2**31), st.lists(SETTINGS, max_size=8), st.sampled_from(SIZES), st.booleans(), st.booleans())
def test_folded_neuron_decides_like_the_kernel(
    seed: int, chosen: list[tuple[float, ...]], size: tuple[int, int], strict: bool, per_element: bool
) -> None:
    drawn = torch.cat([trained_values(seed, CHANNELS), any_values(seed, CHANNELS)], dim=1)
    values = torch.cat([torch.tensor(chosen).view(-1, 5).T, drawn], dim=1)
    assert_folds_exactly(neuron_of(values, size, strict, per_element))


@hunt
@given(st.integers(0, 2**31), st.sampled_from(SIZES), st.booleans(), st.booleans())
def test_folded_neuron_decides_like_the_kernel_in_float64(
    seed: int, size: tuple[int, int], strict: bool, per_element: bool
) -> None:
    assert_folds_exactly(neuron_of(trained_values(seed, CHANNELS).double() / 3, size, strict, per_element))


@pytest.mark.parametrize("eps", [1e-5, 0.0])
@pytest.mark.parametrize("threshold", [0.5, 0.0, -0.3, SUBNORMAL])
@pytest.mark.parametrize("strict", [True, False])
def test_every_combination_of_special_values_folds_exactly(threshold: float, strict: bool, eps: float) -> None:
    gamma = [0.0, -0.0, 1.0, -1.0, SUBNORMAL, -SUBNORMAL, TINY, -3 * TINY, 1e30, -1e30, BIG, -BIG]
    beta = [0.0, 0.5, -0.5, SUBNORMAL, -TINY, 1e30, BIG, -BIG]
    mean = [0.0, 0.3, -SUBNORMAL, 1e20, -1e30, BIG, -BIG]
    var = [0.0, 1.0, SUBNORMAL, 1e-20, 1e30, BIG]
    values = torch.tensor(list(itertools.product(gamma, beta, mean, var, [threshold]))).T.contiguous()
    assert_folds_exactly(neuron_of(values, (1, 1), strict, eps=eps))


@pytest.mark.parametrize("size", [(), (5,)], ids=["dense", "sequence"])
def test_potentials_without_two_spatial_axes_fold_exactly(size: tuple[int, ...]) -> None:
    gamma, beta, mean, var, _ = trained_values(1, CHANNELS)
    half = torch.tensor(0.5)
    neuron = Neuron(half, half, half, norm=MembraneNorm(mean, var, gamma, beta, 1e-5), shape=(CHANNELS, *size))
    folded = fold_neuron(neuron)
    u = probes(folded.threshold).expand(-1, *neuron.shape).contiguous()
    assert torch.equal(folded.fires(u), neuron.fires(u))


def test_negative_gamma_inverts_only_its_channel() -> None:
    values = torch.tensor([[1.0, -1.0, 2.0, 0.0], [0.0] * 4, [0.1] * 4, [1.0] * 4, [0.5] * 4])
    assert assert_folds_exactly(neuron_of(values, (2, 2), True)).inverted.flatten().tolist() == [False, True, False, False]
    assert assert_folds_exactly(neuron_of(values[:, [0, 2, 3]], (2, 2), True)).inverted is None


@pytest.mark.parametrize("strict", [True, False])
def test_zero_gamma_fires_always_or_never(strict: bool) -> None:
    beta = torch.tensor([0.6, 0.4, 0.5, -0.6])
    values = torch.stack([torch.tensor([0.0, 0.0, -0.0, 0.0]), beta, torch.ones(4), torch.ones(4), torch.full((4,), 0.5)])
    folded = assert_folds_exactly(neuron_of(values, (2, 2), strict))
    never, always = math.inf, -math.inf
    assert folded.threshold.flatten().tolist() == [always, never, never if strict else always, never]


def test_zero_variance_leaves_eps_alone_under_the_root() -> None:
    values = torch.tensor([[1.0, -2.0], [0.0, 0.1], [0.3, 0.2], [0.0, 0.0], [0.5, 0.5]])
    folded = assert_folds_exactly(neuron_of(values, (2, 2), True))
    root = math.sqrt(1e-5)
    assert folded.threshold.flatten().tolist() == pytest.approx([0.5 * root + 0.3, 0.4 * root / -2.0 + 0.2], rel=1e-5)


@pytest.mark.parametrize("per_element", [True, False])
def test_norm_without_affine_part_folds_exactly(per_element: bool) -> None:
    _, _, mean, var, _ = trained_values(2, 126).view(5, -1, 2, 7) if per_element else trained_values(2, 126)
    half = torch.tensor(0.5)
    norm = MembraneNorm(mean, var, None, None, 1e-5)
    assert assert_folds_exactly(Neuron(half, half, half, norm=norm, shape=(len(mean), 2, 7))).inverted is None


def test_a_strided_view_of_potentials_decides_like_the_fold() -> None:
    neuron = neuron_of(trained_values(1, CHANNELS), (2, 2), True)
    folded = fold_neuron(neuron)
    u = probes(folded.threshold).expand(-1, *neuron.shape)
    halves = torch.cat([u, u], dim=1)[:, :CHANNELS]
    assert torch.equal(folded.fires(halves), neuron.fires(halves))


def test_strided_statistics_fold_like_contiguous_ones() -> None:
    values = torch.tensor([[0.0, 0.6, 0.1, 0.5, 0.5], [1.0, 0.6, 0.1, 0.5, 0.5]]).T
    assert_folds_exactly(neuron_of(values.contiguous(), (2, 2), True))
    assert_folds_exactly(neuron_of(values, (2, 2), True))


@given(st.lists(FLOATS, min_size=2, max_size=50))
@settings(deadline=None, database=None, derandomize=True)
def test_rank_orders_the_floats_and_unrank_inverts_it(values: list[float]) -> None:
    x = torch.tensor(values).sort().values
    assert torch.equal(unrank(rank(x), torch.float32), x)
    assert torch.equal(rank(x)[1:] > rank(x)[:-1], x[1:] > x[:-1])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=50))
@settings(deadline=None, database=None, derandomize=True)
def test_rank_orders_float64_too(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64).sort().values
    assert torch.equal(unrank(rank(x), torch.float64), x)
    assert torch.equal(rank(x)[1:] > rank(x)[:-1], x[1:] > x[:-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_differ_by_one_rank_across_zero(dtype: torch.dtype) -> None:
    x = torch.cat([any_values(3, 100)[0].to(dtype), torch.tensor([1.0, SUBNORMAL, -SUBNORMAL], dtype=dtype)])
    above = torch.nextafter(x, torch.full_like(x, math.inf))
    assert (rank(above) - rank(x) == 1).all()
    assert rank(torch.tensor([0.0, -0.0], dtype=dtype)).tolist() == [0, 0]
    assert unrank(torch.arange(-1, 2), dtype).sign().tolist() == [-1.0, 0.0, 1.0]


def found_cut() -> tuple[Neuron, Cut]:
    """A reference neuron and its cut, with inverted, always and never firing channels."""
    neuron = neuron_of(torch.cat([trained_values(4, 500), any_values(4, 100)], dim=1), (1, 1), True)
    cut = find_cut(lambda u: neuron.fires(u[None])[0], torch.zeros(600, 1, 1))
    assert cut.inverted.any() and (cut.threshold == math.inf).any() and (cut.threshold == -math.inf).any()
    return neuron, cut


@pytest.mark.parametrize("toward", [math.inf, -math.inf])
def test_a_cut_moved_by_one_ulp_does_not_prove_itself(toward: float) -> None:
    neuron, cut = found_cut()
    moved = torch.nextafter(cut.threshold, torch.full_like(cut.threshold, toward))
    proven = proves(lambda u: neuron.fires(u[None])[0], Cut(moved, cut.inverted))
    assert not proven[cut.threshold.isfinite()].any()


def test_a_cut_of_the_wrong_direction_does_not_prove_itself() -> None:
    neuron, cut = found_cut()
    assert proves(lambda u: neuron.fires(u[None])[0], cut).all()
    assert not proves(lambda u: neuron.fires(u[None])[0], Cut(cut.threshold, ~cut.inverted)).any()


def test_a_constant_channel_is_proven_only_with_its_own_constant() -> None:
    neuron, cut = found_cut()
    for wrong in (-cut.threshold, torch.zeros_like(cut.threshold)):
        proven = proves(lambda u: neuron.fires(u[None])[0], Cut(wrong, cut.inverted))
        assert not proven[cut.threshold.isinf()].any()
    always = Cut(torch.full_like(cut.threshold, -math.inf), torch.zeros_like(cut.inverted))
    assert not proves(lambda u: neuron.fires(u[None])[0], always)[cut.threshold.isfinite()].any()


@pytest.mark.parametrize("inverted", [True, False])
@given(cut=FLOATS)
@settings(deadline=None, database=None, derandomize=True)
def test_bisection_finds_any_cut(inverted: bool, cut: float) -> None:
    at = torch.tensor([cut])
    found = find_cut(lambda u: u < at if inverted else u > at, torch.zeros(1))
    constant = cut == (-BIG if inverted else BIG)
    assert found.threshold.item() == (math.inf if constant else cut)
    assert found.inverted.item() == (inverted and not constant)


def test_a_decision_that_tells_the_zeros_apart_is_not_monotone() -> None:
    with pytest.raises(ValueError, match="not monotone"):
        find_cut(lambda u: (u > 0) | ((u == 0) & ~u.signbit()), torch.zeros(3))


def test_a_decision_that_changes_when_asked_again_is_not_monotone() -> None:
    asked = itertools.count()
    with pytest.raises(ValueError, match="not monotone"):
        find_cut(lambda u: u > (1.0 if next(asked) < 30 else 2.0), torch.zeros(3))


@pytest.mark.parametrize("band", [True, False])
def test_a_decision_with_two_switches_is_not_monotone(band: bool) -> None:
    with pytest.raises(ValueError, match="not monotone"):
        find_cut(lambda u: (u.abs() < 1) == band, torch.zeros(3))
