"""Text and numbers as a reader sees them, alike in every report."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with what cannot be seen as escapes, but for spaces and line breaks: control, bidirectional, surrogate."""
    lines = text.replace("\t", " ").split("\n")
    return "\n".join("".join(c if c.isprintable() else c.encode("unicode-escape").decode() for c in line) for line in lines)


def one_line(text: str) -> str:
    """`text`, printable, on one line."""
    return " ".join(printable(text).split())


def shortened(text: str, length: int) -> str:
    """`text` on one line with its middle left out if it is longer than `length`: names differ at their ends."""
    plain = one_line(text)
    if len(plain) <= length:
        return plain
    head = (length - 1) // 3
    return f"{plain[:head]}…{plain[len(plain) - (length - 1 - head) :]}"


def count(value: int) -> str:
    """`12,544,000`"""
    return f"{value:,}"


def percent(value: float) -> str:
    """`99.80%`"""
    return f"{value:.2%}"


def of_bound(value: float | None) -> str:
    """An error as a share of its bound: `7.4%`."""
    if value is None:
        return "not a number"
    return f"{value:,.1%}" if value < 1e3 else f"{value:.1e} times"


def rate(value: float) -> str:
    """Spikes per neuron and step: `0.261`."""
    return f"{value:.3f}"


def number(value: float | None) -> str:
    """A number to a few places: `-63.59`."""
    return "not a number" if value is None else f"{value:.4g}"


def ulps(value: float | None) -> str:
    """A distance in units in the last place, or a dash if no threshold is finite."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if value == int(value) and value < 1e6 else f"{value:.3g}"


def megabytes(value: int) -> str:
    """`0.12 MB`, or a dash for no file."""
    return f"{value / 1e6:.2f} MB" if value else "\N{EN DASH}"
