"""What a report shows, whatever its format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnconv.results import Measure, Site
from snnconv.results.verdict import Policy, Verdict

if TYPE_CHECKING:
    from snnconv.results.verdict import Conversion


@dataclass(frozen=True)
class Report:
    """The verdicts of a command and, for `convert`, what was folded and measured.

    Raises `ValueError` for verdicts under different policies: a document states one.
    """

    command: str
    verdicts: tuple[Verdict, ...]
    source: str = ""
    arch: str = ""
    sites: tuple[Site, ...] = ()
    measures: tuple[Measure, ...] = ()

    def __post_init__(self) -> None:
        if any(verdict.policy != self.policy for verdict in self.verdicts):
            raise ValueError("verdicts under different policies do not fit into one report")

    @property
    def policy(self) -> Policy:
        return self.verdicts[0].policy if self.verdicts else Policy()

    @property
    def equivalent(self) -> bool:
        """Whether there is something to judge and nothing of it failed."""
        return bool(self.verdicts) and all(verdict.equivalent for verdict in self.verdicts)


def verification_report(verdicts: Iterable[Verdict]) -> Report:
    """The report of `verify`."""
    return Report("verify", tuple(verdicts))


def conversion_report(result: Conversion) -> Report:
    """The report of `convert`."""
    return Report("convert", result.verdicts, result.source, result.arch, result.sites, result.measures)
