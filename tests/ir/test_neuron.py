"""The canonical neuron against a plain Python loop written from the paper's equations (arXiv 2308.08359)."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnconv.ir.dynamics import fire
from snnconv.ir.neuron import MembraneNorm, Neuron, pack, unpack_neuron
from snnconv.nn import LIF, MPBN

SHAPE, STEPS, BATCH = (3, 2, 2), 6, 2
NORMS = ("none", "channel", "channel without affine", "element", "element without affine")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def dyadic(size: tuple[int, ...], seed: int, low: float = -2.0, high: float = 2.0) -> Tensor:
    """Multiples of 1/8: every sum and product below is exact, and potentials often sit exactly on the threshold."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(round(low * 8), round(high * 8) + 1, size, generator=generator, dtype=torch.float64) / 8


def mpbn(kind: str) -> MPBN | None:
    """An MPBN of both signs of gamma and a gamma of zero, without eps so that its arithmetic is exact."""
    if kind == "none":
        return None
    size = SHAPE if kind.startswith("element") else SHAPE[:1]
    norm = MPBN(size if len(size) > 1 else size[0], eps=0.0, affine="without" not in kind).double().eval()
    norm.running_mean.copy_(dyadic(size, 1, -1, 1))
    norm.running_var.copy_(torch.tensor([0.25, 1.0, 4.0]).view(-1, *[1] * (len(size) - 1)).expand(size))
    if norm.weight is not None:
        with torch.no_grad():
            norm.weight.copy_(dyadic(size, 2))
            norm.bias.copy_(dyadic(size, 3, -1, 1))
            norm.weight.view(-1)[0] = -1.0
            norm.weight.view(-1)[-1] = 0.0
    return norm


def paper(norm: MPBN | None, u: float, where: tuple[int, ...]) -> float:
    """BN of one potential: gamma * (u - mean) / sqrt(var + eps) + beta."""
    if norm is None:
        return u
    at = where[: norm.running_mean.dim()]
    out = (u - norm.running_mean[at].item()) / math.sqrt(norm.running_var[at].item() + norm.eps)
    return out if norm.weight is None else norm.weight[at].item() * out + norm.bias[at].item()


def referee(
    x: Tensor, leak: float, threshold: float, v_reset: float | None, strict: bool, norm: MPBN | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Potentials, spikes and kept potentials `[T, B, C, H, W]`, one float at a time; `v_reset` None is a soft reset."""
    u, s, v = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for b, c, h, w in itertools.product(*map(range, x.shape[1:])):
        kept = 0.0
        for t in range(len(x)):
            potential = leak * kept + x[t, b, c, h, w].item()
            seen = paper(norm, potential, (c, h, w))
            fired = seen > threshold if strict else seen >= threshold
            kept = potential - threshold * fired if v_reset is None else v_reset if fired else potential
            for tensor, value in ((u, potential), (s, float(fired)), (v, kept)):
                tensor[t, b, c, h, w] = value
    return u, s, v


CASES = pytest.mark.parametrize(
    ("kind", "v_reset", "strict"), list(itertools.product(NORMS, (None, 0.0, 0.125, -0.5), (True, False)))
)


@CASES
def test_neuron_steps_as_the_paper_says(kind: str, v_reset: float | None, strict: bool) -> None:
    leak, threshold, norm = 0.5, 0.5, mpbn(kind)
    x = dyadic((STEPS, BATCH, *SHAPE), 4)
    neuron = Neuron(
        threshold=torch.tensor(threshold).double(),
        leak=torch.tensor(leak).double(),
        reset=torch.tensor(leak * (threshold if v_reset is None else v_reset)).double(),
        soft=v_reset is None,
        strict=strict,
        norm=None if norm is None else norm.frozen(),
    )
    expected, state = referee(x, leak, threshold, v_reset, strict, norm), None
    with torch.no_grad():
        for t, (current, u, s, v) in enumerate(zip(x, *expected, strict=True)):
            found = neuron.step(current, state, t)
            assert torch.equal(found[0], u) and torch.equal(found[1], s) and torch.equal(found[2], leak * v)
            state = found[2]


@CASES
def test_lif_layer_steps_as_the_paper_says(kind: str, v_reset: float | None, strict: bool) -> None:
    norm, soft = mpbn(kind), v_reset is None
    layer = LIF(0.75, 0.5, "soft" if soft else "hard", v_reset or 0.0, strict, norm).double().eval()
    x = dyadic((STEPS, BATCH, *SHAPE), 5)
    with torch.no_grad():
        spikes = torch.stack([layer(current) for current in x])
    assert torch.equal(spikes, referee(x, 0.75, 0.5, v_reset, strict, norm)[1])
    assert 0 < spikes.mean() < 1


def test_strictness_matters_on_the_threshold_only() -> None:
    u = dyadic((50, 3), 4)
    strict, loose = (LIF(threshold=0.5, strict=strict).double().neuron().fires(u) for strict in (True, False))
    assert torch.equal(strict != loose, u == 0.5) and (u == 0.5).any()


def test_eps_stands_inside_the_root() -> None:
    norm = MembraneNorm(torch.tensor([0.5]), torch.tensor([0.25]), torch.tensor([3.0]), torch.tensor([1.0]), eps=2.0)
    assert norm(torch.tensor([[2.0]])).item() == pytest.approx(3.0 * 1.5 / math.sqrt(2.25) + 1.0)


def test_zero_state_is_the_first_step() -> None:
    x = dyadic((BATCH, *SHAPE), 6)
    neuron = LIF(norm=mpbn("channel")).double().eval().neuron()
    assert all(torch.equal(a, b) for a, b in zip(neuron.step(x, None, 0), neuron.step(x, torch.zeros_like(x), 0), strict=True))


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_every_constant_acts_as_the_module_docstring_says(soft: bool, strict: bool) -> None:
    names = ("threshold", "leak", "reset", "shift", "gain", "offset", "synaptic_decay")
    held = {name: dyadic(SHAPE, seed, 0.125, 1) for seed, name in enumerate(names)}
    inverted = dyadic((3, 1, 1), 7) > 0
    x, m, i = dyadic((STEPS, *SHAPE), 8), torch.zeros(SHAPE, dtype=torch.float64), torch.zeros(SHAPE, dtype=torch.float64)
    neuron, state = Neuron(**held, soft=soft, strict=strict, inverted=inverted, shape=SHAPE), None
    assert inverted.any() and not inverted.all()
    for t, current in enumerate(x):
        u, s, following = neuron.step(current[None], state, t)
        for at in itertools.product(*map(range, SHAPE)):
            k = {name: tensor[at].item() for name, tensor in held.items()}
            i[at] = k["synaptic_decay"] * i[at].item() + k["gain"] * current[at].item() + k["offset"]
            potential = m[at].item() + i[at].item()
            above = potential > k["threshold"] if strict else potential >= k["threshold"]
            below = potential < k["threshold"] if strict else potential <= k["threshold"]
            fired = below if inverted[at[0]] else above
            silent = k["leak"] * potential + k["shift"]
            m[at] = silent - k["reset"] * fired if soft else k["reset"] if fired else silent
            assert u[0][at].item() == potential and s[0][at].item() == fired
        assert neuron.state_shape == following.shape[1:] and torch.equal(following[0], torch.stack([m, i]))
        state = following


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strict", [True, False])
def test_one_comparison_of_all_channels_is_exact_at_the_threshold_and_its_neighbours(strict: bool, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    subnormal = torch.nextafter(torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)).item()
    special = [0.0, -0.0, 0.5, -0.3, 1.0, subnormal, -subnormal, info.tiny, -info.tiny, info.max, info.min]
    threshold = torch.tensor(special, dtype=dtype).repeat(2)
    inverted = torch.arange(len(threshold)) < len(special)
    ends = torch.tensor([math.inf, -math.inf], dtype=dtype)[:, None].expand(2, len(threshold))
    probes = [threshold[None], torch.nextafter(threshold, ends).clamp(info.min, info.max), threshold[:, None].expand(-1, 22)]
    u = torch.cat(probes)
    neuron = Neuron(threshold, torch.ones(()), torch.zeros(()), strict=strict, inverted=inverted)
    above, below = (u > threshold, u < threshold) if strict else (u >= threshold, u <= threshold)
    assert torch.equal(neuron.fires(u), torch.where(inverted, below, above))


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=20, max_size=20), st.booleans())
def test_inverted_comparison_is_the_comparison_the_other_way_round(pairs: list[tuple[float, float]], strict: bool) -> None:
    threshold, u = torch.tensor(pairs, dtype=torch.float32).T
    k = Neuron(threshold, u, u, strict=strict, inverted=torch.ones(20, dtype=torch.bool)).constants()
    assert torch.equal(fire(u, k), u < threshold if strict else u <= threshold)


def test_infinite_threshold_says_always_or_never() -> None:
    u = torch.tensor([[-3.4e38, -0.0], [3.4e38, 0.0]])
    neuron = Neuron(torch.tensor([-math.inf, math.inf]), torch.ones(()), torch.zeros(()))
    assert neuron.fires(u).tolist() == [[True, False]] * 2


def full_neuron() -> Neuron:
    """A neuron with every constant set."""
    names = ("threshold", "leak", "reset", "shift", "gain", "synaptic_decay")
    held = {name: dyadic(SHAPE, seed).float() for seed, name in enumerate(names)}
    norm = MembraneNorm(*(dyadic(SHAPE, seed).float() for seed in range(4)), eps=1e-3)
    inverted = dyadic((3, 1, 1), 9) > 0
    return Neuron(**held, soft=True, strict=False, offset=torch.tensor(0.5), inverted=inverted, norm=norm, shape=SHAPE)


def assert_same(a: Neuron | MembraneNorm, b: Neuron | MembraneNorm) -> None:
    assert type(a) is type(b)
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, Tensor):
            assert one.dtype == other.dtype and torch.equal(one, other), field.name
        elif isinstance(one, MembraneNorm):
            assert_same(one, other)
        else:
            assert one == other, field.name


@pytest.mark.parametrize("affine", [True, False])
def test_unpack_gives_back_what_pack_took(affine: bool) -> None:
    plain = LIF(norm=MPBN(3, affine=affine)).requires_grad_(False).neuron()
    for neuron in (full_neuron(), plain):
        tensors: dict[str, Tensor] = {}
        written = json.loads(json.dumps(pack(neuron, "neuron.a.b", tensors)))
        assert_same(unpack_neuron(written, "neuron.a.b", tensors), neuron)
        assert all(name.startswith("neuron.a.b.") for name in tensors)


def test_a_synaptic_decay_is_read_under_its_former_name_too() -> None:
    tensors: dict[str, Tensor] = {}
    written = pack(full_neuron(), "n", tensors)
    tensors["n.synapse"] = tensors.pop("n.synaptic_decay")
    assert_same(unpack_neuron(written, "n", tensors), full_neuron())


def test_changing_the_type_reaches_every_float_and_no_mask() -> None:
    doubled = full_neuron().to(torch.float64)
    tensors: dict[str, Tensor] = {}
    pack(doubled, "n", tensors)
    assert {name for name, tensor in tensors.items() if tensor.dtype != torch.float64} == {"n.inverted"}
    assert_same(doubled.to(torch.float32), full_neuron())
