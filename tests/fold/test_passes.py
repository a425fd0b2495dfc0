"""Fold passes: their order, those of other packages, and how one that breaks is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import nn

from snnconv.errors import InputError
from snnconv.fold import PASSES, FoldPass, FoldRefused, fold, ordered
from snnconv.fold.norm_calls import NormCall
from snnconv.ir.passes import PassFailed
from snnconv.ir.program import SpikingProgram
from snnconv.nn import LIF
from snnconv.results import REFUSED, Site
from tests.fold.test_fold import settled
from tests.networks import program_of


class Foreign(FoldPass):
    """A pass of another package that changes nothing."""

    name = "foreign"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        return program

    def declines(self, call: NormCall) -> str:
        return f"the foreign pass has no place for {call.path}"


class Breaking(Foreign):
    """Breaks its promise."""

    def ensures(self, program: SpikingProgram) -> None:
        raise RuntimeError("it left something")


class Refusing(Foreign):
    """Refuses."""

    def requires(self, program: SpikingProgram) -> None:
        raise FoldRefused((Site("bn", "BatchNorm2d", "", REFUSED, "it is not wanted"),))


class Misplaced(Foreign):
    """Runs behind a pass that there is not."""

    after = "nowhere"


class First(Foreign):
    """Runs early."""

    after = "refuse-unfoldable"


@pytest.fixture
def registered(request: pytest.FixtureRequest) -> Iterator[None]:
    PASSES.register("foreign", request.param)
    yield
    PASSES.discard("foreign")


def program() -> SpikingProgram:
    """A norm that nothing takes."""
    return program_of(settled(nn.Sequential(LIF(), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten())))


def test_passes_run_in_the_order_of_the_registry_and_by_its_names() -> None:
    assert [step.name for step in ordered()] == list(PASSES.own)


@pytest.mark.parametrize(("registered", "place"), [(Foreign, 6), (First, 1)], indirect=["registered"])
def test_a_pass_of_another_package_runs_where_it_says(registered: None, place: int) -> None:
    assert [step.name for step in ordered()].index("foreign") == place
    assert fold(program()).folded


@pytest.mark.parametrize("registered", [Foreign], indirect=True)
def test_its_reason_to_decline_a_norm_reaches_the_site(registered: None) -> None:
    (site,) = fold(program()).sites
    assert site.detail.endswith("; the foreign pass has no place for 1")


@pytest.mark.parametrize("registered", [Misplaced], indirect=True)
def test_a_place_behind_no_pass_is_an_error(registered: None) -> None:
    with pytest.raises(InputError, match="'foreign' runs after 'nowhere', which there is not"):
        ordered()


@pytest.mark.parametrize("registered", [Breaking], indirect=True)
def test_a_pass_that_breaks_its_promise_is_named_with_those_before_it(registered: None) -> None:
    with pytest.raises(PassFailed, match=r"pass foreign failed \(after refuse-unfoldable, .*next-linear\): .*it left something"):
        fold(program())


@pytest.mark.parametrize("registered", [Refusing], indirect=True)
def test_a_refusal_comes_through_as_it_is(registered: None) -> None:
    with pytest.raises(FoldRefused, match="cannot fold BatchNorm2d at bn: it is not wanted"):
        fold(program())
