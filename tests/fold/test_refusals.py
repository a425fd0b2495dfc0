"""Norms whose statistics depend on the input are refused by name and reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from snnconv.errors import Refused
from snnconv.fold import REFUSED, FoldRefused, fold
from snnconv.fold.refusals import RefuseUnfoldable
from snnconv.nn import LIF
from snnconv.program import SpikingProgram
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
    assert error.value.what.endswith(reason) and "inspect" in error.value.todo


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
