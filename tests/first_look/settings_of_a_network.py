"""A module of settings, as networks import theirs."""

T = 6
other = 6


def looped(x: object) -> list[object]:
    """Six times the same, by a loop in this module."""
    return [x for _ in range(6)]
