"""What is no affine map with stored constants is refused by name and reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from snnconv.errors import Refused
from snnconv.fold import REFUSED, FoldRefused, fold
from snnconv.fold.refusals import RefuseUnfoldable
from snnconv.ir.program import SpikingProgram
from snnconv.nn import LIF, PerStep
from snnconv.nn.per_step import At
from tests.networks import program_of

SAMPLE = "its statistics are those of each input, so it is no constant to fold"
BATCH = "it keeps no running statistics and normalises by each batch (track_running_stats=False)"

NORMS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "BatchNorm": (lambda: nn.BatchNorm2d(4, track_running_stats=False), BATCH),
    "LayerNorm": (lambda: nn.LayerNorm([4, 4, 4]), SAMPLE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), SAMPLE),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(4), SAMPLE),
    "RMSNorm": (lambda: nn.RMSNorm(4), SAMPLE),
}


def program_with(*norms: nn.Module) -> SpikingProgram:
    layers = (nn.Conv2d(2, 4, 3), *norms, LIF(), nn.Flatten())
    return program_of(nn.Sequential(*layers).eval(), shape=(2, 6, 6))


@pytest.mark.parametrize("kind", NORMS)
def test_norm_that_depends_on_the_input_is_refused_with_its_reason(kind: str) -> None:
    norm, reason = NORMS[kind]
    with pytest.raises(FoldRefused, match=f"cannot fold {kind} at ") as error:
        fold(program_with(norm()))
    (site,) = error.value.sites
    assert (site.kind, site.into, site.outcome, site.detail) == (kind, "", REFUSED, reason)
    assert error.value.what.endswith(reason) and ("--keep-norm" if reason == SAMPLE else "inspect") in error.value.todo


def test_batch_statistics_without_affine_part_are_refused_too() -> None:
    with pytest.raises(FoldRefused, match="normalises by each batch"):
        fold(program_with(nn.BatchNorm2d(4, affine=False, track_running_stats=False)))


def test_the_refused_norm_is_named_by_its_path() -> None:
    with pytest.raises(FoldRefused, match="at 1: it keeps no running statistics"):
        fold(program_with(nn.BatchNorm2d(4, track_running_stats=False)))


def test_every_refused_norm_is_listed() -> None:
    with pytest.raises(FoldRefused, match=r"cannot fold GroupNorm at .* \(and 2 more\)") as error:
        fold(program_with(nn.GroupNorm(1, 4), nn.LayerNorm([4, 4]), nn.BatchNorm2d(4, track_running_stats=False)))
    assert [site.kind for site in error.value.sites] == ["GroupNorm", "LayerNorm", "BatchNorm"]


def test_a_refusal_is_a_user_error_and_not_a_bug() -> None:
    assert issubclass(FoldRefused, Refused) and FoldRefused.exit_code == 3


def test_norms_with_stored_statistics_pass() -> None:
    program = program_with(nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False))
    step = RefuseUnfoldable()
    step.requires(program)
    assert step(program) is program


def test_scale_that_is_not_finite_is_refused() -> None:
    norm = nn.BatchNorm2d(4, eps=0.0)
    norm.running_var.zero_()
    with pytest.raises(FoldRefused, match="cannot fold BatchNorm2d at 1: its scale or shift is not finite"):
        fold(program_with(norm))


class Drawing(nn.Module):
    """Samples its spikes, as probabilistic neurons do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 4, 3), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.bernoulli(self.act(self.conv(x)) * 0.5).flatten(1)


def test_what_draws_random_numbers_is_refused() -> None:
    with pytest.raises(FoldRefused, match="cannot fold bernoulli at bernoulli: it draws random numbers at inference"):
        fold(program_of(Drawing().eval()))


def test_dropout_at_inference_draws_nothing() -> None:
    fold(program_of(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(0.5), LIF(), nn.Flatten()).eval()))


class OwnStatistics(nn.Module):
    """Normalises by the statistics of the very batch, written out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 4, 3), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.act((y - y.mean((0, 2, 3), keepdim=True)) / y.std((0, 2, 3), keepdim=True)).flatten(1)


def test_a_norm_by_hand_over_the_batch_is_refused() -> None:
    with pytest.raises(Refused, match="the output of a sample depends on the other samples of its batch"):
        program_of(OwnStatistics().eval())


class Powers(PerStep):
    """Raises to a power that changes from step to step: no scale, no shift."""

    def __init__(self) -> None:
        super().__init__(4)
        self.exponent = nn.Parameter(torch.linspace(0.5, 2.0, 4))

    def at_step(self, x: torch.Tensor, at: At) -> torch.Tensor:
        return x.abs() ** at(self.exponent)


def test_a_constant_per_step_that_neither_scales_nor_shifts_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), Powers(), LIF(), nn.Flatten()).eval()
    with pytest.raises(FoldRefused, match=r"cannot fold per-step constant at 1.exponent: aten.pow.* reads it, but only a scale"):
        fold(program_of(net))


class DependentNorm(nn.Module):
    """A batch norm whose gamma is computed from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.norm = nn.Conv2d(2, 4, 3), LIF(), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, norm = self.conv(x), self.norm
        gamma = x.abs().amax((0, 1, 2, 3)) * norm.weight
        y = nn.functional.batch_norm(y, norm.running_mean, norm.running_var, gamma, norm.bias, False)
        return self.act(y).flatten(1)


def test_a_norm_whose_constants_depend_on_the_input_is_refused() -> None:
    with pytest.raises(Refused, match=r"its constants depend on the input|depends on the other samples"):
        fold(program_of(DependentNorm().eval()))
