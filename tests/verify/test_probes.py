"""Probes are as adversarial as they say: neighbours in float32 that decide differently, thresholds put onto potentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snnconv.artifact.program_file import program_file
from snnconv.engines import ENGINES, Candidate, Deployment, Observation, open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.ir.dynamics import fire
from snnconv.ir.program import SpikingProgram, TimeContract
from snnconv.lower import lower
from snnconv.sources import Source
from snnconv.verify.comparisons import check_comparisons
from snnconv.verify.deployment import compare_layers
from snnconv.verify.probes import SATURATED, Target, extremes, near_thresholds
from snnconv.verify.running import observe
from tests.networks import NETWORKS, inputs, source_of
from tests.references import reference_of, reference_to

LAYERS = ("act1", "act2", "act3")


@cache
def source(name: str, event: bool = False) -> Source:
    return source_of(NETWORKS[name](), event=event)


@cache
def folded(name: str, event: bool = False) -> SpikingProgram:
    return fold(source(name, event).program)


def opened(program: SpikingProgram, path: Path, form: str = "sequence") -> Candidate:
    if path.suffix == ".pt2":
        pt2.save(program, path)
    else:
        export(program, path, format_of(path), form)
    return open_candidate(path).load()


# Extremes.


def test_extremes_are_nothing_ones_saturation_and_two_hot_pixels() -> None:
    x = extremes(TimeContract(4, (2, 8, 6)))
    assert x.shape == (5, 2, 8, 6)
    assert (x[0] == 0).all()
    assert (x[1] == 1).all()
    assert (x[2] == SATURATED).all()
    for sample, pixel in ((3, (1, 4, 3)), (4, (1, 7, 5))):
        assert x[sample].nonzero().tolist() == [list(pixel)]
        assert x[sample][pixel] == SATURATED


def test_of_frames_only_the_first_has_the_hot_pixel() -> None:
    x = extremes(TimeContract(3, (2, 8, 8), event=True))
    assert x.shape == (5, 3, 2, 8, 8)
    assert (x[2] == SATURATED).all()
    assert x[3].nonzero().tolist() == [[0, 1, 4, 4]]
    assert x[4].nonzero().tolist() == [[0, 1, 7, 7]]


@pytest.mark.parametrize("shape", [(1, 1, 1), (7,), (3, 1)])
def test_extremes_fit_any_shape(shape: tuple[int, ...]) -> None:
    x = extremes(TimeContract(2, shape))
    assert x.shape == (5, *shape)
    assert [int((sample != 0).sum()) for sample in x[3:]] == [1, 1]


# Thresholds.


def spikes_of(program: SpikingProgram, x: Tensor) -> dict[tuple[str, int], Tensor]:
    seen: dict[tuple[str, int], Tensor] = {}
    program.run(x, lambda name, step, u, spikes: seen.update({(name, step): spikes.flatten(1) > 0}))
    return seen


def steps_apart(a: Tensor, b: Tensor) -> Tensor:
    """How many float32 lie between two values that are not negative."""
    return (a.contiguous().view(torch.int32).long() - b.contiguous().view(torch.int32).long()).abs()


CASES = [(name, event) for name in NETWORKS for event in (False, True)]


@pytest.mark.parametrize(("name", "event"), CASES)
def test_the_inputs_of_a_pair_are_neighbours_that_decide_differently_in_their_layer(name: str, event: bool) -> None:
    program = folded(name, event)
    x = near_thresholds(program, inputs(source(name, event), 2), 0)
    low, high = x.chunk(2)
    assert len(low) == len(high) > 0
    assert x.shape[1:] == program.contract.batch_shape(0)[1:]
    spread = (inputs(source(name, event), 2).max() - 0) / 2**22
    assert (low - high).abs().max() < spread, "the two inputs of a pair are not neighbours"
    apart = steps_apart(low, high)[(low > 0.01) & (high > 0.01)].float()
    assert apart.median() <= 2
    assert apart.max() <= 64
    spikes = spikes_of(program, x)
    flips = [
        {layer for (layer, _), fired in spikes.items() if bool((fired[k] ^ fired[k + len(low)]).any())} for k in range(len(low))
    ]
    deciding = [
        layer for layer in LAYERS if any(bool((fired[:1] ^ fired).any()) for (at, _), fired in spikes.items() if at == layer)
    ]
    assert all(flips), "a pair decides alike everywhere"
    assert {layer for layers in flips for layer in layers} >= {"act1"}
    assert len(low) >= len(deciding) - 1


@pytest.mark.parametrize(("name", "event"), CASES)
def test_the_very_neuron_that_was_aimed_at_decides_differently(name: str, event: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    aimed: list[Target] = []

    def noting(program: SpikingProgram, x: Tensor, targets: list[Target]) -> Tensor:
        aimed[:] = targets
        return original(program, x, targets)

    from snnconv.verify import probes

    original = probes._decisions
    monkeypatch.setattr(probes, "_decisions", noting)
    program = folded(name, event)
    low, high = near_thresholds(program, inputs(source(name, event), 2), 0).chunk(2)
    assert len(aimed) == len(low)
    assert [layer for layer, _, _ in aimed] == [layer for layer in LAYERS if layer in {layer for layer, _, _ in aimed}]
    below, above = spikes_of(program, low), spikes_of(program, high)
    for k, (layer, index, step) in enumerate(aimed):
        assert below[layer, step][k, index] != above[layer, step][k, index], (layer, index, step)


@pytest.mark.parametrize(("name", "event"), CASES)
def test_the_first_layer_comes_within_a_few_units_in_the_last_place(name: str, event: bool) -> None:
    src, program = source(name, event), folded(name, event)
    x = near_thresholds(program, inputs(src, 2), 0)
    seen: dict[str, list[Tensor]] = {}
    spikes: dict[str, list[Tensor]] = {}

    def watch(layer: str, step: int, u: Tensor, fired: Tensor) -> None:
        seen.setdefault(layer, []).append(u)
        spikes.setdefault(layer, []).append(fired)

    y = program.run(x, watch)
    nearest = compare_layers(reference_to(src, program), x, Observation(y, seen, spikes), nearest=True).nearest["act1"]
    assert nearest is not None
    assert nearest <= 8
    ordinary = compare_layers(reference_to(src, program), *observed(program, inputs(src, 2)), nearest=True).nearest["act1"]
    assert ordinary is not None
    assert ordinary > 20 * (nearest + 1), "ordinary input comes as near: the probe adds nothing"


def observed(program: SpikingProgram, x: Tensor) -> tuple[Tensor, Observation]:
    potentials: dict[str, list[Tensor]] = {}
    spikes: dict[str, list[Tensor]] = {}

    def watch(layer: str, step: int, u: Tensor, fired: Tensor) -> None:
        potentials.setdefault(layer, []).append(u)
        spikes.setdefault(layer, []).append(fired)

    return x, Observation(program.run(x, watch), potentials, spikes)


def test_probes_are_seeded() -> None:
    program, some = folded("plain"), inputs(source("plain"), 2)
    assert torch.equal(near_thresholds(program, some, 3), near_thresholds(program, some, 3))
    assert not torch.equal(near_thresholds(program, some, 3), near_thresholds(program, some, 4))


def test_probes_stay_within_the_range_of_the_data() -> None:
    program, some = folded("plain"), inputs(source("plain"), 2) * 3
    x = near_thresholds(program, some, 0)
    assert (x.min() >= 0, x.max() <= some.max()) == (True, True)


def test_a_layer_that_never_decides_otherwise_has_no_pair() -> None:
    program = folded("plain")
    never = {name: replace(neuron, threshold=torch.tensor(torch.inf)) for name, neuron in program.neurons.items()}
    some = inputs(source("plain"), 2)
    silent = replace(program, neurons={**program.neurons, "act2": never["act2"]})
    assert len(near_thresholds(silent, some, 0)) == 2 * len({"act1", "act3"})
    nothing = near_thresholds(replace(program, neurons=never), some, 0)
    assert nothing.shape == (0, 2, 8, 8)


# Comparisons.


FORMATS = [(".onnx", "sequence"), (".onnx", "step"), (".ts", "sequence"), (".ts", "step"), (".pt2", "step")]


@pytest.mark.sample(4)
@pytest.mark.parametrize(("suffix", "form"), FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_sound_artifact_compares_as_its_source_at_equality_too(name: str, suffix: str, form: str, tmp_path: Path) -> None:
    candidate = opened(folded(name), tmp_path / f"net{suffix}", form)
    checks = check_comparisons(reference_of(folded(name)), candidate, inputs(source(name), 4))
    assert [(check.level, check.layer) for check in checks] == [("deployment", layer) for layer in LAYERS]
    for check in checks:
        assert check.passed, check
        assert check.detail.startswith("with thresholds on potentials: ")
        assert check.detail.endswith(" potentials met their threshold")


@pytest.mark.sample(6)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("suffix", "form"), FORMATS)
@pytest.mark.parametrize("name", ["per_channel", "per_element"])
def test_another_comparison_is_found_in_its_layer(name: str, suffix: str, form: str, layer: str, tmp_path: Path) -> None:
    """`>` for `>=` or the reverse, all constants of the lowered graph kept: ordinary potentials never show it."""
    program = folded(name)
    neuron = program.neurons[layer]
    other = flipped_comparison(program, layer)
    constants, expected = (lower(p, "step").constants() for p in (other, program))
    assert all(torch.equal(constants[path], value) for path, value in expected.items()), "the constants give it away"
    candidate = opened(other, tmp_path / f"net{suffix}", form)
    x = inputs(source(name), 4)
    seen = observe(candidate, x)
    for u, fired in zip(seen.potentials[layer], seen.spikes[layer], strict=True):
        assert torch.equal(fire(u, neuron.constants()), fired > 0), "ordinary input shows it as well"
    failed = [check for check in check_comparisons(reference_of(program), candidate, x) if not check.passed]
    assert [check.layer for check in failed] == [layer]
    assert " spikes wrong" in failed[0].detail


def flipped_comparison(program: SpikingProgram, layer: str) -> SpikingProgram:
    """The same program with `>` and `>=` exchanged in one layer, whose lowered threshold stays what it was."""
    neuron = program.neurons[layer]
    threshold, strict = neuron.threshold, not neuron.strict
    if neuron.inverted is not None:
        lowered = neuron.constants().threshold
        back = torch.full_like(lowered, torch.inf if strict else -torch.inf)
        threshold = torch.where(neuron.inverted, torch.nextafter(lowered, back), threshold)
    return replace(program, neurons={**program.neurons, layer: replace(neuron, strict=strict, threshold=threshold)})


def test_a_comparison_against_another_channels_threshold_is_found() -> None:
    """Thresholds that are alike hide it; those put onto potentials differ from channel to channel."""
    program = folded("plain")
    per_channel = program.neurons["act1"].threshold.expand(6, 1, 1).clone()
    program = replace(program, neurons={**program.neurons, "act1": replace(program.neurons["act1"], threshold=per_channel)})

    class Rolled(Wrapped):
        def with_constants(self, constants: dict[str, Tensor]) -> Candidate:
            return self.held.with_constants({path: v.roll(1, 0) if v.dim() else v for path, v in constants.items()})

    found = check_comparisons(reference_of(program), Rolled(program), inputs(source("plain"), 2))
    assert {check.layer: check.passed for check in found}["act1"] is False


class Wrapped:
    """An artifact to be meddled with."""

    form, batch, engine, sha256_of_source = "step", None, ENGINES["torch"], "0" * 64

    def __init__(self, program: SpikingProgram) -> None:
        self.held: Candidate = Deployment(program_file(program), ENGINES["torch"]).load()

    @property
    def contract(self) -> TimeContract:
        return self.held.contract

    def constants(self) -> dict[str, Tensor]:
        return self.held.constants()

    def with_constants(self, constants: dict[str, Tensor]) -> Candidate:
        return self.held.with_constants(constants)

    def run(self, x: Tensor) -> Tensor:
        return self.held.run(x)

    def observe(self, x: Tensor) -> Observation:
        return self.held.observe(x)


def holding(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Wrapped:
    class Changed(Wrapped):
        def constants(self) -> dict[str, Tensor]:
            return change(super().constants())

    return Changed(folded("plain"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda held: {k: v for k, v in held.items() if k != "conv2.weight"}, id="missing"),
        pytest.param(lambda held: {**held, "conv2.weight": held["conv2.weight"][:, :1]}, id="shape"),
    ],
)
def test_an_artifact_of_other_constants_is_not_meddled_with(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    (check,) = check_comparisons(reference_of(folded("plain")), holding(change), inputs(source("plain"), 2))
    assert (check.level, check.layer, check.passed) == ("deployment", "conv2", False)
    assert check.detail == "its constants are not those of the source"


def test_an_artifact_that_does_not_repeat_itself_is_found() -> None:
    class Shaky(Wrapped):
        runs = 0

        def with_constants(self, constants: dict[str, Tensor]) -> Candidate:
            Shaky.runs += 1
            noisy = {path: value + 1e-3 * Shaky.runs for path, value in self.held.constants().items() if path == "conv1.bias"}
            return self.held.with_constants({**constants, **noisy})

    checks = check_comparisons(reference_of(folded("plain")), Shaky(folded("plain")), inputs(source("plain"), 2))
    assert {check.layer: check.passed for check in checks}["act1"] is False
    assert "does not repeat itself" in checks[0].detail


def test_only_one_sample_is_compared_however_many_there_are() -> None:
    class Counting(Wrapped):
        sizes: list[int] = []  # noqa: RUF012

        def with_constants(self, constants: dict[str, Tensor]) -> Candidate:
            self.held = super().with_constants(constants)
            return self  # type: ignore[return-value]

        def observe(self, x: Tensor) -> Observation:
            self.sizes.append(len(x))
            return super().observe(x)

    check_comparisons(reference_of(folded("plain")), Counting(folded("plain")), inputs(source("plain"), 6))
    assert set(Counting.sizes) == {1}


@pytest.mark.parametrize("name", ["plain", "per_channel"])
def test_layers_that_fire_are_probed_in_the_same_runs(name: str) -> None:
    """So that the runs do not grow with the depth of the network; every threshold is at a potential, above it and below it."""

    class Counting(Wrapped):
        moved: list[dict[str, Tensor]] = []  # noqa: RUF012

        def with_constants(self, constants: dict[str, Tensor]) -> Candidate:
            self.moved.append(constants)
            return super().with_constants(constants)

    Counting.moved = []
    program = folded(name)
    assert all(check.passed for check in check_comparisons(reference_of(program), Counting(program), inputs(source(name), 2)))
    as_held, *moved = Counting.moved
    assert len(moved) == 3
    for path, threshold in as_held.items():
        assert all(not torch.equal(each[path], threshold) for each in moved), path


def test_a_layer_that_never_fires_is_probed_alone() -> None:
    program = folded("plain")
    silent = {**program.neurons, "act2": replace(program.neurons["act2"], threshold=torch.tensor(1e6), strict=False)}
    program = replace(program, neurons=silent)
    checks = check_comparisons(reference_of(program), Wrapped(program), inputs(source("plain"), 2))
    assert {check.layer: check.passed for check in checks} == dict.fromkeys(LAYERS, True)
    other = replace(program, neurons={**silent, "act2": replace(silent["act2"], strict=True)})
    checks = check_comparisons(reference_of(program), Wrapped(other), inputs(source("plain"), 2))
    assert [check.layer for check in checks if not check.passed] == ["act2"]
