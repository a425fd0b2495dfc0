"""Every norm at every place: folds spike as plain float64 loops over the papers' equations, in float32 but for rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import cycle, product

import pytest
import torch
from torch import Tensor, nn

from snnconv.engines import Observation
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.lower import lower
from snnconv.nn import LIF, MPBN, PerStep, PSPNorm
from snnconv.nn.per_step import At
from snnconv.sources import Source
from snnconv.verify.deployment import compare_layers
from tests.networks import inputs, source_of
from tests.norms import NORMS, SIGNS, Plain, T, equation, settled
from tests.references import reference_to

C, SIDE = 4, 6
Apply = Callable[[Tensor], Tensor]

PLACES: dict[str, Callable[[Net, Tensor, Apply], Tensor]] = {
    "after a convolution": lambda m, h, norm: norm(m.conv(h)),
    "after a grouped convolution": lambda m, h, norm: norm(m.grouped(h)),
    "after a depthwise convolution": lambda m, h, norm: norm(m.depthwise(h)),
    "after a transposed convolution": lambda m, h, norm: norm(m.transposed(h)),
    "after a grouped transposed convolution": lambda m, h, norm: norm(m.grouped_transposed(h)),
    "before a convolution": lambda m, h, norm: m.unpadded(norm(h)),
    "before a padded convolution": lambda m, h, norm: m.conv(norm(h)),
    "before a grouped convolution": lambda m, h, norm: m.grouped_unpadded(norm(h)),
    "before two convolutions": lambda m, h, norm: m.unpadded(n := norm(h)) + m.other(n),
    "after a residual sum": lambda m, h, norm: norm(m.conv(h) + h),
    "on one branch": lambda m, h, norm: norm(m.conv(h)) + h,
    "on the other branch": lambda m, h, norm: m.conv(h) + norm(h),
    "after pooling": lambda m, h, norm: norm(m.pool(h)),
    "before pooling": lambda m, h, norm: m.pool(norm(m.conv(h) + h)),
    "twice in a row": lambda m, h, norm: norm(norm(m.conv(h))),
    "twice around a convolution": lambda m, h, norm: norm(m.conv(norm(h))),
}


class Net(nn.Module):
    """A spiking layer, the layers of one place with the norm, a second spiking layer, a linear read-out."""

    def __init__(self, norm: nn.Module, place: str, neuron: LIF, side: int = SIDE) -> None:
        super().__init__()
        self.first, self.act0 = nn.Conv2d(2, C, 3, padding=1), LIF(threshold=0.3)
        self.conv, self.unpadded, self.other = nn.Conv2d(C, C, 3, padding=1), nn.Conv2d(C, C, 3), nn.Conv2d(C, C, 3, bias=False)
        self.grouped, self.depthwise = nn.Conv2d(C, C, 3, groups=2), nn.Conv2d(C, C, 3, groups=C, bias=False)
        self.grouped_unpadded = nn.Conv2d(C, C, 3, groups=2, bias=False)
        self.transposed = nn.ConvTranspose2d(C, C, 2, stride=2)
        self.grouped_transposed = nn.ConvTranspose2d(C, C, 2, groups=2)
        self.pool, self.norm, self.act1, self.place = nn.AvgPool2d(2), norm, neuron, place
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act0(self.first(x))
        return self.head(self.act1(PLACES[self.place](self, h, self.norm)).flatten(1))


MEMBRANES: dict[str, Callable[[tuple[int, ...]], nn.Module | None]] = {
    "none": lambda shape: None,
    "per channel": lambda shape: MPBN(shape[0]),
    "per element": lambda shape: MPBN(shape),
    "PSP": lambda shape: PSPNorm(shape[0]),
    "PSP per element": lambda shape: PSPNorm(shape),
}


def current_shape(norm: nn.Module, place: str) -> tuple[int, ...]:
    """The shape of the potential of the second spiking layer."""
    net = Net(copy.deepcopy(norm), place, nn.Identity()).eval()
    h = torch.zeros(1, C, SIDE, SIDE)
    with torch.no_grad():
        return tuple(PLACES[place](net, h, lambda x: x).shape[1:])


def built(norm: str, place: str, membrane: str, carried: bool, reset: str, strict: bool, sign: str, timesteps: int) -> Source:
    """A settled network of that kind in which both layers spike at times, captured."""
    torch.manual_seed(0)
    layer = NORMS[norm](C)
    held = MEMBRANES[membrane](current_shape(layer, place))
    settings = {"leak": 0.75, "threshold": 0.4, "reset": reset, "strict": strict, "v_reset": 0.1 if reset == "hard" else 0.0}
    net = Net(layer, place, LIF(**settings, norm=held, carry_normalised=carried and held is not None))
    with torch.no_grad():
        net.eval()(torch.zeros(2, 2, SIDE, SIDE))
    for seed in range(50):
        spikes, _ = referee(settled(net, seed, sign), torch.rand(4, 2, SIDE, SIDE).double(), timesteps)
        if all(0.02 < torch.stack(steps).mean() < 0.98 for steps in spikes.values()):
            return source_of(net, timesteps, shape=(2, SIDE, SIDE))
    raise AssertionError("what never or always spikes shows nothing")


def referee(net: nn.Module, x: Tensor, timesteps: int) -> tuple[dict[str, list[Tensor]], Tensor]:
    """Spikes of both layers at every step, and the mean output, in float64."""
    net = copy.deepcopy(net).double()
    neurons = {"act0": Plain(net.act0), "act1": Plain(net.act1)}
    outputs = []
    with torch.no_grad():
        for t in range(timesteps):
            h = neurons["act0"](net.first(x))
            current = PLACES[net.place](net, h, lambda values, t=t: equation(net.norm, values, t))
            outputs.append(net.head(neurons["act1"](current).flatten(1)))
    return {name: neuron.spikes for name, neuron in neurons.items()}, torch.stack(outputs).mean(0)


def watched(program: SpikingProgram, x: Tensor) -> Observation:
    """A run of a program with everything its neurons did."""
    seen: tuple[dict[str, list[Tensor]], ...] = ({}, {})

    def watch(name: str, step: int, *values: Tensor) -> None:
        for kept, value in zip(seen, values, strict=True):
            kept.setdefault(name, []).append(value)

    return Observation(program.run(x, watch), *seen)


def assert_folds_like_the_equations(source: Source) -> SpikingProgram:
    """In float64 spike for spike, as program and lowered; in float32 but for explained flips. Gives the float32 fold."""
    x = inputs(source, 5)
    spikes, y = referee(source.module, x.double(), source.program.contract.timesteps)
    folded64 = fold(source.to(torch.float64).program)
    seen = watched(folded64, x.double())
    for name, steps in spikes.items():
        assert all(torch.equal(a, b) for a, b in zip(seen.spikes[name], steps, strict=True)), name
    torch.testing.assert_close(seen.y, y, rtol=0, atol=1e-9)
    torch.testing.assert_close(lower(folded64, "sequence").run(x.double()), y, rtol=0, atol=1e-9)
    folded = fold(source.program)
    compared = compare_layers(reference_to(source, folded), x, watched(folded, x))
    assert {tally.name: (tally.unexplained, tally.outside, tally.inconsistent) for tally in compared.layers} == dict.fromkeys(
        ("act0", "act1", "output"), (0, 0, 0)
    )
    return folded


def cases() -> Iterator[object]:
    """Every norm at every place, the rest taken in turn so that every value of it meets many of them."""
    rest = cycle(product(("none", "per channel", "per element", "PSP"), ("hard", "soft"), (True, False), SIGNS, (T, 1)))
    for i, (norm, place) in enumerate(product(NORMS, PLACES)):
        for _ in range(1 + i % 5):
            membrane, reset, strict, sign, timesteps = next(rest)
        if "twice" in place and norm in ("TEBN", "BNTT", "TAB"):
            continue
        yield pytest.param(norm, place, membrane, i % 2 == 0, reset, strict, sign, timesteps, id=f"{norm} {place}")


@pytest.mark.sample(8)
@pytest.mark.parametrize(("norm", "place", "membrane", "carried", "reset", "strict", "sign", "timesteps"), cases())
def test_norm_at_place(
    norm: str, place: str, membrane: str, carried: bool, reset: str, strict: bool, sign: str, timesteps: int
) -> None:
    source = built(norm, place, membrane, carried, reset, strict, sign, timesteps)
    folded = assert_folds_like_the_equations(source)
    assert not folded.holds_norms


@pytest.mark.sample(8)
@pytest.mark.parametrize(("sign", "strict"), [("positive", False), ("mixed", True), ("mixed", False), ("negative", True)])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("membrane", [name for name in MEMBRANES if name != "none"])
def test_membrane_norm(membrane: str, carried: bool, reset: str, strict: bool, sign: str) -> None:
    source = built("batch norm", "after a convolution", membrane, carried, reset, strict, sign, T)
    (site,) = (site for site in assert_folds_like_the_equations(source).sites if site.path == "act1")
    assert site.outcome == ("rounding" if carried else "exact")


class Reversed(PerStep):
    """Scales and shifts per step by hand, the constants in front and for more steps than the network has."""

    def __init__(self) -> None:
        super().__init__(6)
        self.scale, self.shift = nn.Parameter(torch.linspace(0.5, 1.5, 6)), nn.Parameter(torch.linspace(-0.2, 0.3, 6))

    def at_step(self, x: Tensor, at: At) -> Tensor:
        return at(self.shift) + at(self.scale) * x


def test_scale_and_shift_per_step_fold_in_either_order_and_for_different_numbers_of_steps() -> None:
    norm = settled(NORMS["BNTT"](C))
    layers = (nn.Conv2d(2, C, 3), LIF(threshold=0.3), nn.Conv2d(C, C, 3), norm, Reversed(), LIF(threshold=0.3), nn.Flatten())
    source = source_of(settled(nn.Sequential(*layers)), 3, shape=(2, SIDE, SIDE))
    x = inputs(source, 3)
    folded64 = fold(source.to(torch.float64).program)
    assert [site.into for site in folded64.sites] == ["5", "5", "5"]
    assert folded64.neurons["5"].gain is not None and folded64.neurons["5"].gain.shape == (3, 1, C, 1, 1)
    torch.testing.assert_close(folded64.run(x.double()), source.to(torch.float64).run(x.double()), rtol=1e-9, atol=1e-9)
