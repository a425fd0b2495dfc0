"""Judging an observed run: held against a plain float64 loop of the equations, every flip is found where it happens, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.engines import Observation
from snnconv.fold import fold
from snnconv.ir.dynamics import integrate
from snnconv.ir.neuron import Neuron
from snnconv.ir.program import SpikingProgram, TimeContract
from snnconv.lower import lower
from snnconv.nn import LIF, MPBN
from snnconv.results import MARGIN_BINS, LayerTally
from snnconv.sources import Source
from snnconv.verify.deployment import Compared, compare_layers
from snnconv.verify.running import ShapeMismatch, observe, run_bare
from tests.networks import NETWORKS, inputs, plain, source_of
from tests.references import reference_to

LAYERS = ("act1", "act2", "act3")
T = 4
Place = tuple[int, int, int]
"""A spike: its step, its sample, the flat index of its neuron."""


@cache
def source(name: str, event: bool = False, readout: str = "mean") -> Source:
    return source_of(NETWORKS[name](), T, event, readout)


@cache
def folded(name: str, event: bool = False, readout: str = "mean") -> SpikingProgram:
    return fold(source(name, event, readout).program)


# The equations, in float64, from the definitions: MPBN and LIF of arXiv 2308.08359, batch norm of arXiv 1502.03167.


def norm64(x: Tensor, norm: nn.Module) -> Tensor:
    def wide(t: Any) -> Tensor:
        return t.double() if t.dim() == 3 else t.double().view(-1, 1, 1)

    out = (x - wide(norm.running_mean)) / torch.sqrt(wide(norm.running_var) + norm.eps)
    return out if norm.weight is None else out * wide(norm.weight) + wide(norm.bias)


def conv64(x: Tensor, conv: nn.Module) -> Tensor:
    bias = None if conv.bias is None else conv.bias.double()
    return nn.functional.conv2d(x, conv.weight.double(), bias, padding=conv.padding)


@dataclass
class Loop:
    """What the equations give, step by step: potentials, how far beyond its threshold each is after its norm, spikes, output."""

    u: dict[str, list[Tensor]] = field(default_factory=lambda: {name: [] for name in LAYERS})
    beyond: dict[str, list[Tensor]] = field(default_factory=lambda: {name: [] for name in LAYERS})
    spikes: dict[str, list[Tensor]] = field(default_factory=lambda: {name: [] for name in LAYERS})
    y: Tensor = field(default_factory=lambda: torch.zeros(()))


def paper(net: Any, x: Tensor, event: bool = False, seen: Observation | None = None) -> Loop:
    """The network of `tests.networks`, free-running or on the spikes and potentials that were `seen`."""
    loop, kept, outputs = Loop(), dict.fromkeys(LAYERS, torch.zeros((), dtype=torch.float64)), []

    def lif(name: str, current: Tensor, t: int) -> Tensor:
        layer: LIF = getattr(net, name)
        leak, threshold = layer.leak.double(), layer.threshold.double()
        u = leak * kept[name] + current
        v = u if layer.norm is None else norm64(u, layer.norm)
        fired = v > threshold if layer.strict else v >= threshold
        loop.u[name].append(u)
        loop.beyond[name].append(v - threshold)
        loop.spikes[name].append(fired)
        if seen is not None:
            u, fired = seen.potentials[name][t].double(), seen.spikes[name][t] > 0
        kept[name] = u - threshold * fired if layer.soft else torch.where(fired, layer.v_reset, u)
        return fired.double()

    with torch.no_grad():
        for t in range(T):
            frame = (x[:, t] if event else x).double()
            first = lif("act1", norm64(conv64(frame, net.conv1), net.bn1), t)
            second = lif("act2", norm64(conv64(first, net.conv2), net.bn2), t)
            third = lif("act3", norm64(conv64(second, net.conv3) + first, net.sum_norm), t)
            flat = nn.functional.avg_pool2d(third, 2).flatten(1)
            outputs.append(flat @ net.head.weight.double().T + net.head.bias.double())
    loop.y = torch.stack(outputs).mean(0)
    return loop


# Candidates that do wrong at chosen places, and go on consistently from there.


@dataclass(frozen=True)
class Meddled(Neuron):
    """Adds to potentials and inverts spikes at chosen places; what comes after follows from that."""

    moves: dict[Place, float] = field(default_factory=dict)
    flips: tuple[Place, ...] = ()

    def step(self, current: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor, Tensor]:
        u = integrate(self.synaptic_current(current, None, t), state).clone()
        for (step, sample, index), by in self.moves.items():
            if step == t:
                u[sample].view(-1)[index] += by
        fired = self.fires(u)
        for step, sample, index in self.flips:
            if step == t:
                fired[sample].view(-1)[index] ^= True
        return u, fired.to(u.dtype), self.after_reset(u, fired)


def watched(program: SpikingProgram, x: Tensor) -> Observation:
    """One run of a program as an engine would show it."""
    potentials: dict[str, list[Tensor]] = {}
    spikes: dict[str, list[Tensor]] = {}

    def watch(name: str, step: int, u: Tensor, fired: Tensor) -> None:
        potentials.setdefault(name, []).append(u.clone())
        spikes.setdefault(name, []).append(fired.clone())

    return Observation(program.run(x, watch), potentials, spikes)


def meddled(
    program: SpikingProgram,
    x: Tensor,
    flips: dict[str, list[Place]] | None = None,
    moves: dict[str, dict[Place, float]] | None = None,
) -> Observation:
    """One run of a program that does wrong at these places of these layers."""
    flips, moves = flips or {}, moves or {}
    neurons = dict(program.neurons)
    for name in {*flips, *moves}:
        plain_fields = {f.name: getattr(neurons[name], f.name) for f in fields(Neuron)}
        neurons[name] = Meddled(**plain_fields, moves=moves.get(name, {}), flips=tuple(flips.get(name, ())))
    return watched(replace(program, neurons=neurons), x)


def tallies(compared: Compared) -> dict[str, LayerTally]:
    return {tally.name: tally for tally in compared.layers}


def counted(compared: Compared) -> dict[str, tuple[int, int, int, int]]:
    """Per layer: explained, unexplained, outside, inconsistent."""
    return {t.name: (t.explained, t.unexplained, t.outside, t.inconsistent) for t in compared.layers}


def marked(compared: Compared) -> list[int]:
    """The samples that differ behind explained flips alone."""
    return compared.explained.nonzero().flatten().tolist()


CLEAN = dict.fromkeys((*LAYERS, "output"), (0, 0, 0, 0))
KINDS = [(name, event) for name in NETWORKS for event in (False, True)]


# Against the equations.


@pytest.mark.parametrize(("name", "event"), KINDS)
def test_a_sound_run_is_clean_and_its_rates_are_those_of_the_equations(name: str, event: bool) -> None:
    src, x = source(name, event), inputs(source(name, event))
    seen = watched(folded(name, event), x)
    free = paper(src.module, x, event)
    compared = compare_layers(reference_to(src, folded(name, event)), x, seen)
    assert counted(compared) == CLEAN
    assert compared.difference is None
    for layer in LAYERS:
        tally = tallies(compared)[layer]
        spikes = sum(int(fired.sum()) for fired in free.spikes[layer])
        assert (tally.spikes_reference, tally.spikes_candidate) == (spikes, spikes)
        assert tally.values == sum(u.numel() for u in free.u[layer])
        assert 0 < tally.rate_reference < 1
        assert tally.worst is not None
        assert tally.worst < 1
    assert torch.allclose(compared.reference[0].double(), free.y, atol=1e-5)


@pytest.mark.parametrize(("name", "event"), KINDS)
def test_the_error_is_that_of_the_equations_on_the_candidates_own_inputs_and_state(name: str, event: bool) -> None:
    """A potential moved by a good deal is as far out, in bounds, as float64 says; the bound is the documented sum."""
    src, x = source(name, event), inputs(source(name, event))
    net: Any = src.module
    place = (2, 3, 100)
    seen = meddled(folded(name, event), x, moves={"act1": {place: 3e-3}})
    expected = paper(net, x, event, seen).u["act1"]
    frames = x.abs().amax(1) if event else x.abs()
    magnitude = nn.functional.conv2d(frames.double(), net.conv1.weight.double().abs(), padding=1)
    scale = net.bn1.weight.double().abs() / (net.bn1.running_var.double() + net.bn1.eps).sqrt()
    magnitude = scale.view(-1, 1, 1) * (magnitude + net.bn1.running_mean.double().abs().view(-1, 1, 1))
    magnitude = magnitude + net.bn1.bias.double().abs().view(-1, 1, 1)
    unit = 2 * 8 * (2 * 9 + 1 + 4 + 2) ** 0.5 * 2.0**-24
    worst = 0.0
    for t in range(T):
        leak, reset, soft = net.act1.leak.double(), net.act1.neuron().reset.double(), net.act1.soft
        state = torch.zeros(()).double()
        if t:
            u, fired = seen.potentials["act1"][t - 1].double(), seen.spikes["act1"][t - 1] > 0
            state = leak * u - reset * fired if soft else torch.where(fired, reset, leak * u)
        bound = unit * (magnitude + state.abs())
        worst = max(worst, float(((seen.potentials["act1"][t].double() - expected[t]).abs() / bound).max()))
    found = tallies(compare_layers(reference_to(src, folded(name, event)), x, seen))["act1"]
    assert worst > 10
    assert found.worst == pytest.approx(worst, rel=0.02)
    assert (found.outside, found.first) == (1, (3, 2))


@pytest.mark.parametrize(("name", "event"), KINDS)
def test_flips_are_those_of_the_equations_on_the_candidates_own_inputs_and_state(name: str, event: bool) -> None:
    src, x = source(name, event), inputs(source(name, event))
    flips = {"act1": [(0, 0, 5), (3, 2, 17)], "act2": [(1, 2, 40), (1, 4, 41)], "act3": [(2, 5, 3)]}
    seen = meddled(folded(name, event), x, flips)
    driven, free = paper(src.module, x, event, seen), paper(src.module, x, event)
    found = tallies(compare_layers(reference_to(src, folded(name, event)), x, seen))
    for layer in LAYERS:
        unlike = [(fired > 0) ^ mine for fired, mine in zip(seen.spikes[layer], driven.spikes[layer], strict=True)]
        assert sum(int(mask.sum()) for mask in unlike) == len(flips[layer]), "the equations do not see the flips made by hand"
        for step, sample, index in flips[layer]:
            assert driven.beyond[layer][step][sample].view(-1)[index].abs() > 1e-3, "a flip made by hand is near the threshold"
        assert (found[layer].explained, found[layer].unexplained) == (0, len(flips[layer]))
        assert found[layer].inconsistent == len(flips[layer])
        assert found[layer].outside == 0
        assert found[layer].spikes_reference == sum(int(fired.sum()) for fired in free.spikes[layer]), "the source is driven"
        assert found[layer].spikes_candidate == sum(int((fired > 0).sum()) for fired in seen.spikes[layer])
    assert found["output"].sound
    assert [t.spikes_reference for t in found.values()] != [t.spikes_candidate for t in found.values()]


# One flip.


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("step", range(T))
def test_one_flip_is_found_at_its_sample_step_and_layer_and_nowhere_else(name: str, layer: str, step: int) -> None:
    src, x = source(name), inputs(source(name))
    seen = meddled(folded(name), x, {layer: [(step, 4, 200)]})
    compared = compare_layers(reference_to(src, folded(name)), x, seen)
    assert counted(compared) == {**CLEAN, layer: (0, 1, 0, 1)}
    assert tallies(compared)[layer].first == (4, step)
    assert [t.first for t in compared.layers if t.name != layer] == [None] * 3
    assert compared.difference is not None
    assert (compared.difference.sample, compared.difference.step, compared.difference.layer) == (4, step, layer)
    assert compared.difference.neuron == 200


def test_a_flip_changes_layers_behind_it_which_are_judged_on_what_they_were_given() -> None:
    """Else the test above would show nothing: here the flip is felt downstream."""
    src, x = source("plain"), inputs(source("plain"))
    clean, seen = (meddled(folded("plain"), x, flips) for flips in ({}, {"act1": [(0, 4, 200)]}))
    for layer in ("act2", "act3"):
        assert any(bool(((a[4] > 0) ^ (b[4] > 0)).any()) for a, b in zip(clean.spikes[layer], seen.spikes[layer], strict=True))
    assert not torch.equal(clean.y[4], seen.y[4])
    assert counted(compare_layers(reference_to(src, folded("plain")), x, seen)) == {**CLEAN, "act1": (0, 1, 0, 1)}


def test_samples_that_diverge_at_different_layers_and_steps_are_each_counted_once() -> None:
    src, x = source("per_channel"), inputs(source("per_channel"), 8)
    flips = {
        "act1": [(3, 1, 9), (0, 2, 77), (2, 2, 78)],
        "act2": [(1, 4, 300), (2, 4, 301), (3, 6, 0)],
        "act3": [(0, 6, 383), (3, 4, 100)],
    }
    compared = compare_layers(reference_to(src, folded("per_channel")), x, meddled(folded("per_channel"), x, flips))
    assert counted(compared) == {
        "act1": (0, 3, 0, 3),
        "act2": (0, 3, 0, 3),
        "act3": (0, 2, 0, 2),
        "output": (0, 0, 0, 0),
    }
    assert {t.name: t.first for t in compared.layers} == {"act1": (1, 3), "act2": (4, 1), "act3": (4, 3), "output": None}
    assert compared.difference is not None
    assert (compared.difference.sample, compared.difference.step, compared.difference.layer) == (1, 3, "act1")


def test_within_one_sample_the_first_difference_is_the_earliest_step_then_the_earliest_layer() -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    flips = {"act1": [(2, 3, 5)], "act2": [(1, 3, 6)], "act3": [(1, 3, 7)]}
    compared = compare_layers(reference_to(src, folded("per_channel")), x, meddled(folded("per_channel"), x, flips))
    assert compared.difference is not None
    assert (compared.difference.step, compared.difference.layer, compared.difference.neuron) == (1, "act2", 6)


def test_all_samples_may_diverge() -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    flips = {"act1": [(0, sample, 10 + sample) for sample in range(6)], "act3": [(3, sample, 3) for sample in range(6)]}
    compared = compare_layers(reference_to(src, folded("per_channel")), x, meddled(folded("per_channel"), x, flips))
    assert counted(compared) == {**CLEAN, "act1": (0, 6, 0, 6), "act3": (0, 6, 0, 6)}


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "max", "none"])
def test_the_output_is_judged_on_the_candidates_own_spikes(readout: str) -> None:
    src, program = source("per_channel", False, readout), folded("per_channel", False, readout)
    x = inputs(src)
    seen = meddled(program, x, {"act3": [(3, 1, 55)]})
    assert not torch.equal(seen.y[1], src.run(x)[1])
    assert counted(compare_layers(reference_to(src, program), x, seen)) == {**CLEAN, "act3": (0, 1, 0, 1)}
    seen.y[2].view(-1)[-1] += 1e-3
    compared = compare_layers(reference_to(src, program), x, seen, start=100)
    assert counted(compared) == {**CLEAN, "act3": (0, 1, 0, 1), "output": (0, 0, 1, 0)}
    assert tallies(compared)["output"].first == (102, 0)


# Flips that rounding explains.


@dataclass(frozen=True)
class Edge:
    """A network, and the index of a neuron that at one step of sample 3 fires by one unit in the last place; `by` is two."""

    src: Source
    program: SpikingProgram
    x: Tensor
    index: int
    by: float


@cache
def on_the_edge(layer: str, step: int) -> Edge:
    net: Any = plain()
    sample, x = 3, inputs(source("plain"))
    free = watched(source("plain").program, x)
    before = [u[sample].flatten() for u in free.potentials[layer][: step + 1]]
    quiet = torch.stack([s[sample].flatten() for s in free.spikes[layer][:step]]).sum(0) == 0 if step else before[0] > -9
    rising = torch.stack(before).argmax(0) == step
    index = int((quiet & rising & (before[step] > 0.05)).nonzero()[0])
    threshold = torch.as_tensor(getattr(net, layer).threshold).expand(6, 8, 8).clone()
    cut = torch.nextafter(before[step][index], torch.tensor(-torch.inf))
    threshold.view(-1)[index] = cut
    getattr(net, layer).threshold = threshold
    getattr(net, layer).strict = True
    src = source_of(net)
    return Edge(src, fold(src.program), x, index, 2 * float(before[step][index] - cut))


@pytest.mark.parametrize("layer", ["act1", "act3"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_flip_by_a_potential_moved_within_its_bound_is_explained_and_no_fault(layer: str, step: int) -> None:
    edge = on_the_edge(layer, step)
    src, program, x, index, by = edge.src, edge.program, edge.x, edge.index, edge.by
    place = (step, 3, index)
    assert counted(compare_layers(reference_to(src, program), x, watched(program, x))) == CLEAN
    compared = compare_layers(reference_to(src, program), x, meddled(program, x, moves={layer: {place: -by}}))
    assert counted(compared) == {**CLEAN, layer: (1, 0, 0, 0)}
    assert all(tally.sound for tally in compared.layers)
    assert marked(compared) == [3]
    assert tallies(compared)[layer].first is None
    assert compared.difference is not None
    assert (compared.difference.sample, compared.difference.step, compared.difference.layer) == (3, step, layer)
    assert compared.difference.neuron == index


def test_a_flip_by_a_potential_moved_beyond_its_bound_is_a_fault_of_the_potential_though_near_the_threshold() -> None:
    edge = on_the_edge("act1", 0)
    src, program, x, index = edge.src, edge.program, edge.x, edge.index
    compared = compare_layers(reference_to(src, program), x, meddled(program, x, moves={"act1": {(0, 3, index): -1e-3}}))
    assert counted(compared) == {**CLEAN, "act1": (1, 0, 1, 0)}
    assert tallies(compared)["act1"].first == (3, 0)
    assert marked(compared) == []


def test_a_spike_against_the_own_potential_is_a_fault_however_near_the_threshold() -> None:
    edge = on_the_edge("act1", 0)
    src, program, x, index = edge.src, edge.program, edge.x, edge.index
    compared = compare_layers(reference_to(src, program), x, meddled(program, x, {"act1": [(0, 3, index)]}))
    assert counted(compared) == {**CLEAN, "act1": (1, 0, 0, 1)}
    assert marked(compared) == []


def test_a_flip_after_another_one_is_judged_by_the_same_rules() -> None:
    """The second run, in which the candidate's spikes drive the source, explains flips as the first does."""
    edge = on_the_edge("act1", 1)
    src, program, x, index, by = edge.src, edge.program, edge.x, edge.index, edge.by
    other = (index + 7) % 384
    seen = meddled(program, x, {"act3": [(0, 3, other)]}, {"act1": {(1, 3, index): -by}})
    assert counted(compare_layers(reference_to(src, program), x, seen)) == {**CLEAN, "act1": (1, 0, 0, 0), "act3": (0, 1, 0, 1)}


FAULTS_LATER: dict[str, Callable[[Observation, int], Tensor]] = {
    "potential": lambda seen, sample: seen.potentials["act3"][3][sample].view(-1)[7].add_(1e-2),
    "spike": lambda seen, sample: seen.spikes["act3"][3][sample].view(-1)[7].mul_(-1).add_(1),
    "output": lambda seen, sample: seen.y[sample].view(-1)[0].add_(1e-2),
}


@pytest.mark.parametrize("kind", FAULTS_LATER)
def test_an_explained_flip_does_not_excuse_a_sample_with_a_fault_elsewhere(kind: str) -> None:
    edge = on_the_edge("act1", 0)
    src, program, x = edge.src, edge.program, edge.x
    seen = meddled(program, x, moves={"act1": {(0, 3, edge.index): -edge.by}})
    FAULTS_LATER[kind](seen, 2)
    assert marked(compare_layers(reference_to(src, program), x, seen)) == [3], "a fault of another sample"
    FAULTS_LATER[kind](seen, 3)
    assert marked(compare_layers(reference_to(src, program), x, seen)) == []


def test_a_flip_beyond_its_bound_excuses_nothing_though_the_program_decides_alike() -> None:
    """An adapter with a wrong threshold: the program agrees with the candidate, the source's own code does not."""
    net: Any = plain()
    other = source_of(net)
    net.act1.threshold = net.act1.threshold * 1.5
    src, x = replace(source_of(net), program=other.program), inputs(other)
    compared = compare_layers(reference_to(src, fold(other.program)), x, watched(fold(other.program), x))
    assert compared.difference is not None
    assert marked(compared) == []


def test_potentials_are_held_to_their_bound_after_a_flip_too() -> None:
    src, x = source("per_element"), inputs(source("per_element"))
    seen = meddled(folded("per_element"), x, {"act1": [(0, 2, 8)]}, {"act2": {(3, 2, 33): 1e-2}, "act3": {(3, 1, 44): 1e-2}})
    compared = compare_layers(reference_to(src, folded("per_element")), x, seen)
    found = counted(compared)
    assert found["act1"] == (0, 1, 0, 1)
    assert (found["act2"][2], found["act3"][2]) == (1, 1)
    assert tallies(compared)["act2"].first == (2, 3)
    assert tallies(compared)["act3"].first == (1, 3)


# The raster of the first difference.


@pytest.mark.parametrize(("index", "low"), [(0, 0), (15, 0), (16, 0), (17, 1), (200, 184), (367, 351), (368, 352), (383, 352)])
def test_the_raster_shows_32_neurons_around_the_one_that_differs(index: int, low: int) -> None:
    src, x = source("plain"), inputs(source("plain"))
    seen = meddled(folded("plain"), x, {"act2": [(1, 5, index)]})
    difference = compare_layers(reference_to(src, folded("plain")), x, seen, start=1000).difference
    assert difference is not None
    assert (difference.sample, difference.step, difference.layer, difference.neuron) == (1005, 1, "act2", index)
    assert difference.neurons == tuple(range(low, low + 32))
    free = paper(src.module, x)
    sides = {"reference": free.spikes["act2"], "candidate": [fired > 0 for fired in seen.spikes["act2"]]}
    for side, spikes in sides.items():
        rows = ["".join("01"[int(s)] for s in fired[5].flatten()[low : low + 32]) for fired in spikes]
        assert getattr(difference, side) == tuple(rows), side
    assert difference.reference[0] == difference.candidate[0], "before the first difference both are alike"
    assert difference.reference[1] != difference.candidate[1]


# What no sound artifact shows.


@pytest.mark.parametrize("value", [2.0, 0.5, -1.0, float("nan")])
def test_a_spike_that_is_neither_0_nor_1_is_against_the_threshold(value: float) -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    seen = watched(folded("per_channel"), x)
    fired = seen.spikes["act3"][2][3].view(-1)
    index = int(fired.nonzero()[5])
    fired[index] = value
    compared = compare_layers(reference_to(src, folded("per_channel")), x, seen)
    assert counted(compared) == {**CLEAN, "act3": (0, 0, 0, 1)}
    assert tallies(compared)["act3"].first == (3, 2)


def test_spikes_may_be_bool() -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    seen = meddled(folded("per_channel"), x, {"act2": [(1, 4, 300)]})
    as_bool = replace(seen, spikes={name: [s > 0 for s in spikes] for name, spikes in seen.spikes.items()})
    a, b = (compare_layers(reference_to(src, folded("per_channel")), x, run) for run in (seen, as_bool))
    assert a.layers == b.layers
    assert a.difference == b.difference


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_potential_that_is_no_number_is_outside_and_has_no_worst_error(value: float) -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    seen = watched(folded("per_channel"), x)
    seen.potentials["act2"][3][1].view(-1)[70] = value
    compared = compare_layers(reference_to(src, folded("per_channel")), x, seen)
    tally = tallies(compared)["act2"]
    assert (tally.outside, tally.worst, tally.first) == (1, None, (1, 3))
    assert {name: found for name, found in counted(compared).items() if name != "act2"} == {
        name: found for name, found in CLEAN.items() if name != "act2"
    }


def test_outputs_that_are_no_numbers_are_outside() -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    seen = watched(folded("per_channel"), x)
    seen.y[4] = float("nan")
    tally = tallies(compare_layers(reference_to(src, folded("per_channel")), x, seen))["output"]
    assert (tally.outside, tally.worst, tally.first) == (5, None, (4, 0))


def potentials_of(name: str, change: Callable[[list[Tensor]], list[Tensor]]) -> Callable[[Observation], Observation]:
    return lambda seen: replace(seen, potentials={**seen.potentials, name: change(seen.potentials[name])})


def spikes_of(name: str, change: Callable[[list[Tensor]], list[Tensor]]) -> Callable[[Observation], Observation]:
    return lambda seen: replace(seen, spikes={**seen.spikes, name: change(seen.spikes[name])})


def without(kind: str, name: str) -> Callable[[Observation], Observation]:
    return lambda seen: replace(seen, **{kind: {key: value for key, value in getattr(seen, kind).items() if key != name}})


MISSHAPEN: dict[str, tuple[Callable[[Observation], Observation], str]] = {
    "potential": (potentials_of("act2", lambda u: [*u[:3], u[3][:, :5]]), "act2: values are [6, 5, 8, 8], not [6, 6, 8, 8]"),
    "spike": (spikes_of("act3", lambda s: [s[0].flatten(1), *s[1:]]), "act3: values are [6, 384], not [6, 6, 8, 8]"),
    "batch": (spikes_of("act1", lambda s: [step[:5] for step in s]), "act1: values are [5, 6, 8, 8], not [6, 6, 8, 8]"),
    "step less": (spikes_of("act2", lambda s: s[:-1]), "act2: "),
    "step more": (potentials_of("act2", lambda u: [*u, u[0]]), "act2: "),
    "no spikes": (without("spikes", "act2"), "act2: "),
    "no potentials": (without("potentials", "act1"), "act1: "),
    "output": (lambda seen: replace(seen, y=seen.y[:, :4]), "output: values are [6, 4], not [6, 5]"),
    "output of every step": (lambda seen: replace(seen, y=seen.y[:, None]), "output: values are [6, 1, 5], not [6, 5]"),
}


@pytest.mark.parametrize("kind", MISSHAPEN)
def test_values_of_another_shape_are_named(kind: str) -> None:
    change, words = MISSHAPEN[kind]
    src, x = source("per_channel"), inputs(source("per_channel"))
    with pytest.raises(ShapeMismatch) as caught:
        compare_layers(reference_to(src, folded("per_channel")), x, change(watched(folded("per_channel"), x)))
    assert str(caught.value).startswith(words)
    assert caught.value.name == words.partition(":")[0]


@pytest.mark.parametrize("kind", ["no spikes", "step less"])
def test_a_missing_step_or_layer_is_told_in_steps(kind: str) -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    with pytest.raises(ShapeMismatch, match="steps"):
        compare_layers(reference_to(src, folded("per_channel")), x, MISSHAPEN[kind][0](watched(folded("per_channel"), x)))


# Batches, chunks, numbers.


@dataclass
class Engine:
    """A folded program as an artifact that may be of a fixed batch; notes how it was called."""

    program: SpikingProgram
    batch: int | None = None
    form: str = "step"
    runtime: str = "a test"
    sha256_of_source: str = "0" * 64
    called: list[int] = field(default_factory=list)

    @property
    def contract(self) -> TimeContract:
        return self.program.contract

    def constants(self) -> dict[str, Tensor]:
        return lower(self.program, self.form).constants()

    def with_constants(self, constants: dict[str, Tensor]) -> Engine:
        raise NotImplementedError

    def run(self, x: Tensor) -> Tensor:
        return self.observe(x).y

    def outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.observe(x).outputs

    def observe(self, x: Tensor) -> Observation:
        self.called.append(len(x))
        return watched(self.program, x)


@pytest.mark.parametrize(("samples", "batch", "runs"), [(6, 4, 2), (6, 6, 1), (6, 1, 6), (1, 4, 1), (8, 4, 2), (7, 3, 3)])
def test_a_fixed_batch_is_filled_up_and_what_filled_it_is_dropped(samples: int, batch: int, runs: int) -> None:
    src, x = source("per_channel"), inputs(source("per_channel"), samples)
    engine = Engine(folded("per_channel"), batch)
    seen = observe(engine, x)
    assert engine.called == [batch] * runs
    assert torch.equal(run_bare(engine, x)[0], seen.y)
    assert engine.called == [batch] * 2 * runs
    free = observe(Engine(folded("per_channel")), x)
    for kind in ("potentials", "spikes"):
        for name in LAYERS:
            for a, b in zip(getattr(seen, kind)[name], getattr(free, kind)[name], strict=True):
                torch.testing.assert_close(a, b)
    torch.testing.assert_close(seen.y, free.y)
    compared = compare_layers(reference_to(src, folded("per_channel")), x, seen)
    assert counted(compared) == CLEAN
    assert tallies(compared)["act1"].values == samples * T * 384


def test_without_a_fixed_batch_all_samples_run_at_once() -> None:
    engine = Engine(folded("plain"))
    observe(engine, inputs(source("plain"), 5))
    run_bare(engine, inputs(source("plain"), 5))
    assert engine.called == [5, 5]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_chunks_add_up_to_the_whole_wherever_their_borders_fall(size: int) -> None:
    src, x = source("per_element"), inputs(source("per_element"), 7)
    flips = {"act1": [(3, 1, 9), (0, 2, 77)], "act2": [(1, 4, 300)], "act3": [(2, 6, 5), (2, 1, 5)]}
    seen = meddled(folded("per_element"), x, flips, {"act2": {(3, 5, 12): 0.01}})

    def part(a: int, b: int) -> Observation:
        cut = {
            kind: {name: [step[a:b] for step in steps] for name, steps in getattr(seen, kind).items()}
            for kind in ("potentials", "spikes")
        }
        return Observation(seen.y[a:b], **cut)

    whole = compare_layers(reference_to(src, folded("per_element")), x, seen, start=50)
    chunks = [
        compare_layers(reference_to(src, folded("per_element")), x[a : a + size], part(a, min(a + size, 7)), start=50 + a)
        for a in range(0, 7, size)
    ]
    added = chunks[0].layers
    for chunk in chunks[1:]:
        added = [a + b for a, b in zip(added, chunk.layers, strict=True)]
    assert [replace(t, worst=0, margins=(), flips=()) for t in added] == [
        replace(t, worst=0, margins=(), flips=()) for t in whole.layers
    ]
    assert [t.worst for t in added] == pytest.approx([t.worst for t in whole.layers], rel=0.3, abs=0.01)
    assert {t.name: t.first for t in added} == {"act1": (51, 3), "act2": (54, 1), "act3": (51, 2), "output": None}
    differences = [chunk.difference for chunk in chunks if chunk.difference]
    assert whole.difference == differences[0]
    assert differences[0].sample == 51
    torch.testing.assert_close(torch.cat([chunk.reference[0] for chunk in chunks]), whole.reference[0])


@pytest.mark.parametrize(("name", "event"), KINDS)
def test_a_source_without_a_module_judges_the_same(name: str, event: bool) -> None:
    src, x = source(name, event), inputs(source(name, event))
    bare = replace(src, module=None)
    seen = meddled(folded(name, event), x, {"act1": [(1, 2, 3)], "act2": [(2, 4, 6)]}, {"act3": {(0, 1, 2): 0.01}})
    a, b = (compare_layers(reference_to(one, folded(name, event)), x, seen, nearest=True) for one in (src, bare))
    assert a.layers == b.layers
    assert a.difference == b.difference
    assert torch.equal(a.reference[0], b.reference[0])
    assert a.nearest == b.nearest


# Distances from thresholds.


def test_margins_are_of_the_first_sample_of_a_chunk_and_of_every_flip() -> None:
    src, x = source("per_channel"), inputs(source("per_channel"))
    seen = meddled(folded("per_channel"), x, {"act2": [(1, 4, 300), (2, 4, 301)]})
    for nearest in (True, False):
        compared = compare_layers(reference_to(src, folded("per_channel")), x, seen, nearest=nearest)
        for tally in compared.layers[:-1]:
            assert sum(tally.margins) == T * 384
            assert sum(tally.flips) == (2 if tally.name == "act2" else 0)
        assert bool(compared.nearest) == nearest


def test_an_explained_flip_is_in_a_bin_within_its_bound_and_an_unexplained_one_beyond() -> None:
    edge = on_the_edge("act1", 0)
    src, program, x, index, by = edge.src, edge.program, edge.x, edge.index, edge.by
    within = tallies(compare_layers(reference_to(src, program), x, meddled(program, x, moves={"act1": {(0, 3, index): -by}})))[
        "act1"
    ].flips
    beyond = tallies(compare_layers(reference_to(src, program), x, meddled(program, x, {"act1": [(0, 3, index + 9)]})))[
        "act1"
    ].flips
    one = 4  # the bin that begins at one bound: two bins for each of the decades 0.01 to 1
    assert (len(within), len(beyond)) == (MARGIN_BINS, MARGIN_BINS)
    assert (sum(within[:one]), sum(within[one:])) == (1, 0)
    assert (sum(beyond[:one]), sum(beyond[one:])) == (0, 1)


def test_the_nearest_potential_is_measured_in_units_in_the_last_place_of_the_threshold() -> None:
    edge = on_the_edge("act1", 0)
    src, program, x = edge.src, edge.program, edge.x
    assert compare_layers(reference_to(src, program), x, watched(program, x), nearest=True).nearest["act1"] == 1.0


def test_where_no_threshold_is_finite_nothing_is_near() -> None:
    src, program, x = source("plain"), folded("plain"), inputs(source("plain"))
    never = replace(program.neurons["act3"], threshold=torch.tensor(torch.inf))
    compared = compare_layers(
        reference_to(src, replace(program, neurons={**program.neurons, "act3": never})), x, watched(program, x), nearest=True
    )
    assert compared.nearest["act3"] is None
    assert compared.nearest["act1"] is not None


def test_a_layer_that_never_fires_by_its_threshold_has_no_spike_explained() -> None:
    """The distance to an infinite threshold is infinite: nothing explains a flip there."""
    src, x = source("per_channel"), inputs(source("per_channel"))
    neuron = folded("per_channel").neurons["act1"]
    channel = int((neuron.threshold.flatten() == torch.inf).nonzero()[0])
    compared = compare_layers(
        reference_to(src, folded("per_channel")), x, meddled(folded("per_channel"), x, {"act1": [(1, 2, channel * 64 + 5)]})
    )
    assert counted(compared) == {**CLEAN, "act1": (0, 1, 0, 1)}


# Unused arguments of the layers stay what they are.


def test_the_networks_cover_what_the_loop_above_knows() -> None:
    nets: list[Any] = [make() for make in NETWORKS.values()]
    layers = [getattr(net, name) for net in nets for name in LAYERS]
    assert {layer.soft for layer in layers} == {layer.strict for layer in layers} == {True, False}
    assert {type(layer.norm) for layer in layers} == {MPBN, type(None)}
    assert any(layer.v_reset for layer in layers)
