"""Batch norm that only neurons read becomes the gain and offset of their current."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from snnconv.fold import fold
from snnconv.fold.neuron_gain import FoldIntoNeuron
from snnconv.ir.program import tensors
from snnconv.nn import LIF, MPBN
from tests.fold.test_fold import assert_folds, settled
from tests.fold.test_linear_norm import Wired, into
from tests.networks import program_of

NEURONS = {
    "hard": lambda: LIF(),
    "hard to a value": lambda: LIF(v_reset=0.2, strict=False),
    "soft": lambda: LIF(reset="soft", leak=0.9),
    "membrane norm": lambda: LIF(norm=MPBN(2)),
    "per element": lambda: LIF(norm=MPBN((2, 3, 3))),
}


def residual_sum(norm: nn.Module) -> Wired:
    """A norm on the sum of two branches."""
    return Wired(
        lambda m, x: m.b(m.norm(m.conv2(y := m.a(m.conv1(x))) + y)).flatten(1),
        conv1=nn.Conv2d(2, 3, 3),
        conv2=nn.Conv2d(3, 3, 3, padding=1),
        norm=norm,
        a=LIF(),
        b=LIF(),
    )


@pytest.mark.parametrize("name", NEURONS)
def test_norm_after_pooling_becomes_gain_and_offset(name: str) -> None:
    layers = (nn.AvgPool2d(2), nn.BatchNorm2d(2), NEURONS[name](), nn.Flatten())
    folded = assert_folds(nn.Sequential(*layers))
    assert into(folded)["1"] == "2" and not tensors(folded.graph)
    assert folded.neurons["2"].gain.shape == folded.neurons["2"].offset.shape == (2, 1, 1)


def test_gain_is_gamma_over_the_root_and_offset_the_rest() -> None:
    norm = nn.BatchNorm2d(2)
    folded = fold(program_of(settled(nn.Sequential(norm, LIF(), nn.Flatten()))))
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    neuron = folded.neurons["1"]
    assert torch.equal(neuron.gain.flatten(), scale.float()) and torch.equal(neuron.offset.flatten(), shift.float())


def test_everything_but_gain_and_offset_stays_as_it_was() -> None:
    program = program_of(settled(nn.Sequential(nn.BatchNorm2d(2), LIF(reset="soft", v_reset=0.1), nn.Flatten())))
    before, after = program.neurons["1"], fold(program).neurons["1"]
    assert after.soft and after.strict and after.shift is None and after.inverted is None
    assert all(torch.equal(getattr(before, name), getattr(after, name)) for name in ("threshold", "leak", "reset"))


@pytest.mark.parametrize("affine", [True, False])
def test_norm_after_a_residual_sum_goes_into_the_neuron(affine: bool) -> None:
    assert into(assert_folds(residual_sum(nn.BatchNorm2d(3, affine=affine)))) == {"norm": "b"}


def test_norm_on_the_input_goes_into_the_neuron() -> None:
    assert into(assert_folds(nn.Sequential(nn.BatchNorm2d(2), LIF(norm=MPBN(2)), nn.Flatten()))) == {"0": "1", "1": "threshold"}


def test_norm_of_a_dense_potential_goes_into_the_neuron() -> None:
    layers = (nn.Flatten(), nn.ReLU(), nn.BatchNorm1d(72), LIF(), nn.Linear(72, 3))
    folded = assert_folds(nn.Sequential(*layers))
    assert into(folded) == {"2": "3"} and folded.neurons["3"].gain.shape == (72,)


def test_norm_read_by_two_neurons_goes_into_both_and_counts_once() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.norm(m.pool(x))
        return (m.a(y) - m.b(y)).flatten(1)

    soft = LIF(reset="soft", threshold=0.3)
    folded = assert_folds(Wired(wiring, pool=nn.AvgPool2d(2), norm=nn.BatchNorm2d(2), a=LIF(norm=MPBN(2)), b=soft))
    assert into(folded) == {"norm": "a, b", "a": "threshold"}
    assert torch.equal(folded.neurons["a"].gain, folded.neurons["b"].gain)


def test_norm_that_something_else_reads_too_does_not_go_into_the_neuron() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        y = m.norm(m.pool(x))
        return (m.a(y) + y).flatten(1)

    folded = assert_folds(Wired(wiring, pool=nn.AvgPool2d(2), norm=nn.BatchNorm2d(2), a=LIF()))
    assert into(folded) == {"norm": "norm"} and folded.neurons["a"].gain is None


def test_the_pass_says_what_it_left() -> None:
    program = program_of(settled(residual_sum(nn.BatchNorm2d(3))))
    step = FoldIntoNeuron()
    step.requires(program)
    step.ensures(step(program))
    with pytest.raises(RuntimeError, match=r"neuron-gain left \['norm'\]"):
        step.ensures(program)


def test_norms_in_a_row_go_into_one_neuron() -> None:
    layers = (nn.AvgPool2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2), LIF(), nn.Flatten())
    assert into(assert_folds(nn.Sequential(*layers))) == {"1": "3", "2": "3"}


def test_gain_and_offset_that_a_neuron_has_already_come_after_those_of_the_norm() -> None:
    """u = m + g * (scale * x + shift) + c."""
    layers = (nn.AvgPool2d(2), nn.BatchNorm2d(2), LIF(threshold=0.3), nn.Flatten())
    program = program_of(settled(nn.Sequential(*layers)))
    (name,) = program.neurons
    given = {"gain": torch.tensor([[[0.5]], [[-2.0]]]), "offset": torch.tensor([[[0.1]], [[0.7]]])}
    program = replace(program, neurons={name: replace(program.neurons[name], **given)}).to(torch.float64)
    x = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    before: list[Tensor] = []
    after: list[Tensor] = []
    program.run(x, lambda name, step, u, spikes: before.append(u))
    fold(program).run(x, lambda name, step, u, spikes: after.append(u))
    for u, folded in zip(before, after, strict=True):
        torch.testing.assert_close(folded, u, rtol=1e-12, atol=1e-12)
