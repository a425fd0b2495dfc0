"""A conversion is as good as its worst artifact."""

from __future__ import annotations

from snnconv.results import Conversion
from tests.report.examples import bad, good


def test_a_conversion_is_equivalent_if_all_of_its_artifacts_are() -> None:
    assert Conversion("net.pth", "tests:net", (), (good(), good())).equivalent
    assert not Conversion("net.pth", "tests:net", (), (good(), bad())).equivalent
