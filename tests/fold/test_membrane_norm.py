"""MPBN goes into thresholds, exactly, and each keeps its proof."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from snnconv.fold import EXACT, fold
from snnconv.fold.editing import describe_thresholds
from snnconv.fold.membrane_norm import FoldMembraneNorm, fold_neuron, holds, kernel
from snnconv.ir.program import SpikingProgram
from snnconv.nn import LIF, MPBN
from tests.fold.test_fold import assert_folds, settled, watched
from tests.networks import program_of

FEATURES = {"channel": 3, "element": (3, 4, 4)}


def net_of(**settings: object) -> nn.Sequential:
    """Two neurons with membrane norms, and no other norm."""
    layers = (nn.Conv2d(2, 3, 3), LIF(**settings), nn.Conv2d(3, 2, 3, padding=1), LIF(norm=MPBN(2)), nn.Flatten())
    return nn.Sequential(*layers)


def one_neuron(values: list[list[float]]) -> SpikingProgram:
    """A single neuron at the input with gamma, beta, mean and var as given."""
    norm = MPBN(len(values[0]))
    for held, value in zip((norm.weight, norm.bias, norm.running_mean, norm.running_var), values, strict=True):
        held.data = torch.tensor(value)
    return program_of(nn.Sequential(LIF(norm=norm), nn.Flatten()).eval(), shape=(len(values[0]), 2, 2))


@pytest.mark.sample(8)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize(("reset", "strict", "affine"), itertools.product(["hard", "soft"], [True, False], [True, False]))
def test_membrane_norm_goes_into_the_threshold(features: str, reset: str, strict: bool, affine: bool) -> None:
    norm = MPBN(FEATURES[features], affine=affine)
    folded = assert_folds(net_of(norm=norm, reset=reset, strict=strict, threshold=0.4, leak=0.75))
    site, neuron = folded.sites[0], folded.neurons["1"]
    assert (site.path, site.kind, site.into, site.outcome) == ("1", "MPBN", "threshold", EXACT)
    assert neuron.threshold.shape == ((3, 4, 4) if features == "element" else (3, 1, 1))
    assert neuron.strict and (neuron.inverted is not None) == affine


@pytest.mark.parametrize("features", FEATURES)
def test_float32_decisions_are_bit_for_bit_the_same(features: str) -> None:
    program = program_of(settled(net_of(norm=MPBN(FEATURES[features]), v_reset=0.3)), timesteps=6, shape=(2, 6, 6))
    x = torch.rand(64, 2, 6, 6, generator=torch.Generator().manual_seed(5))
    (y, seen), (z, found) = watched(program, x), watched(fold(program), x)
    assert torch.equal(y, z)
    assert all(torch.equal(a, b) for at in seen for a, b in zip(seen[at], found[at], strict=True))


def test_soft_reset_keeps_subtracting_the_original_amount() -> None:
    program = program_of(settled(net_of(norm=MPBN(3), reset="soft", threshold=0.4, leak=0.5)))
    assert fold(program).neurons["1"].reset.item() == pytest.approx(0.2)


def test_only_the_comparison_changes() -> None:
    program = program_of(settled(net_of(norm=MPBN(3), v_reset=0.2)))
    before, after = program.neurons["1"], fold(program).neurons["1"]
    assert torch.equal(before.leak, after.leak) and torch.equal(before.reset, after.reset)
    assert after.gain is after.offset is after.shift is None and before.shape == after.shape


def test_neurons_without_membrane_norm_are_left_alone() -> None:
    program = program_of(settled(net_of()))
    folded = FoldMembraneNorm()(program)
    assert folded.neurons["1"] is program.neurons["1"] and folded.neurons["3"].norm is None
    assert [site.path for site in folded.sites] == ["3"] and set(folded.proofs) == {"3"}


def test_one_norm_shared_by_two_neurons_folds_into_both() -> None:
    norm = MPBN(2)
    layers = (LIF(norm=norm), nn.Conv2d(2, 2, 3, padding=1), LIF(threshold=0.3, norm=norm), nn.Flatten())
    folded = assert_folds(nn.Sequential(*layers))
    assert [site.path for site in folded.sites] == ["0", "2"]
    assert not torch.equal(folded.neurons["0"].threshold, folded.neurons["2"].threshold)


def test_per_channel_threshold_with_a_norm_folds_per_channel() -> None:
    threshold = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1)
    folded = assert_folds(net_of(norm=MPBN(3), threshold=threshold))
    assert folded.neurons["1"].threshold.shape == (3, 1, 1)


def test_per_element_threshold_with_a_channel_norm_folds_per_element() -> None:
    threshold = torch.linspace(-0.5, 1.0, 48).view(3, 4, 4)
    folded = assert_folds(net_of(norm=MPBN(3), threshold=threshold))
    assert folded.neurons["1"].threshold.shape == (3, 4, 4)


def test_the_site_counts_inverted_and_constant_channels() -> None:
    gamma, beta = [1.0, -2.0, 0.0, 0.0], [0.0, 0.5, 0.6, 0.4]
    (site,) = fold(one_neuron([gamma, beta, [0.25, 0.25, 0.0, 0.0], [1.0] * 4])).sites
    assert site.detail == "4 channels, thresholds 0.25 to 0.75, 1 inverted, 1 always firing, 1 never firing"


def test_the_census_of_a_plain_layer_is_short() -> None:
    assert describe_thresholds(torch.tensor([0.5, 0.25]).view(2, 1, 1), None) == "2 channels, thresholds 0.25 to 0.5"
    assert describe_thresholds(torch.full((1, 2, 2), math.inf), None) == "4 elements, 4 never firing"


def test_the_proof_keeps_norm_threshold_comparison_and_kernel() -> None:
    program = program_of(settled(net_of(norm=MPBN(3), threshold=0.4, strict=False)))
    proof = fold(program).proofs["1"]
    assert proof.norm is program.neurons["1"].norm and not proof.strict and proof.threshold.item() == pytest.approx(0.4)
    assert proof.kernel == kernel(torch.float32) and "batch_norm float32" in proof.kernel and torch.__version__ in proof.kernel


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("toward", [math.inf, -math.inf])
def test_a_threshold_moved_by_one_ulp_does_not_hold(features: str, toward: float) -> None:
    folded = fold(program_of(settled(net_of(norm=MPBN(FEATURES[features]))), shape=(2, 6, 6)))
    neuron, proof = folded.neurons["1"], folded.proofs["1"]
    assert holds(neuron, proof).all()
    moved = torch.nextafter(neuron.threshold, torch.full_like(neuron.threshold, toward))
    finite = neuron.threshold.isfinite()
    assert not holds(replace(neuron, threshold=moved), proof)[finite].any()
    tampered = replace(folded, neurons={**folded.neurons, "1": replace(neuron, threshold=moved)})
    with pytest.raises(RuntimeError, match="thresholds of 1 do not prove themselves"):
        FoldMembraneNorm().ensures(tampered)


def test_a_lost_inversion_does_not_hold() -> None:
    program = one_neuron([[1.0, -1.0], [0.0, 0.0], [0.1, 0.1], [1.0, 1.0]])
    folded = fold(program)
    lost = replace(folded.neurons["0"], inverted=None)
    assert holds(lost, folded.proofs["0"]).flatten().tolist() == [True, False]


def test_a_neuron_without_norm_has_nothing_to_fold() -> None:
    with pytest.raises(RuntimeError, match="no membrane norm"):
        fold_neuron(LIF().neuron())
