"""What folding did: the outcome of every norm, and the constants that it held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EXACT, ROUNDING, KEPT, REFUSED = "exact", "rounding", "kept", "refused"


@dataclass(frozen=True)
class NormStatistics:
    """The constants of a norm in short, as they were trained.

    Attributes:
        values: how many channels or elements it normalises, times the steps if it has constants per step.
        gamma: smallest and largest scale; 1 if it has none.
        mean: smallest and largest running mean.
        variance: smallest and largest running variance (second moment of a PSP norm).
        gamma_negative: how many scales are negative.
        gamma_zero: how many scales are 0.
        variance_near_zero: how many variances are at most ten times eps.
    """

    values: int
    gamma: tuple[float, float]
    mean: tuple[float, float]
    variance: tuple[float, float]
    gamma_negative: int
    gamma_zero: int
    variance_near_zero: int


@dataclass(frozen=True)
class Site:
    """What became of one norm: `exact`, `rounding`, `kept` or `refused`, and into what it went.

    `detail` says what a reader wants to know: counts of inverted and constant channels, the range of thresholds, the reason of a
    refusal. `statistics` are those of the norm, if it has any.
    """

    path: str
    kind: str
    into: str
    outcome: str
    detail: str
    statistics: NormStatistics | None = None

    @classmethod
    def from_plain(cls, site: dict[str, Any]) -> Site:
        """The inverse of `dataclasses.asdict`, with lists for tuples."""
        held: dict[str, Any] | None = site.get("statistics")
        if held is not None:
            held = {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}
        return cls(**{**site, "statistics": None if held is None else NormStatistics(**held)})
