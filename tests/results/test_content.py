"""What a report is made of."""

from __future__ import annotations

import pytest

from snnconv.report import Report, conversion_report, verification_report
from snnconv.results import Measure, Site
from snnconv.results.verdict import Conversion, Policy, judge
from tests.report.examples import BAD, GOOD, bad, good


def test_a_report_is_equivalent_when_every_verdict_is_and_there_is_one() -> None:
    assert verification_report([good()]).equivalent
    assert not verification_report([good(), bad()]).equivalent
    assert not verification_report([]).equivalent


def test_a_conversion_is_shown_with_its_norms_and_measures() -> None:
    sites, measures = (Site("bn", "BatchNorm2d", "conv", "rounding", ""),), (Measure("source", 10, 2.5),)
    report = conversion_report(Conversion("net.pth", "arch", sites, (good(),), measures))
    assert report == Report("convert", (good(),), "net.pth", "arch", sites, measures)


def test_one_report_has_one_policy() -> None:
    with pytest.raises(ValueError, match="different policies"):
        verification_report([judge(GOOD, Policy(0.9)), judge(BAD, Policy(0.8))])
