"""Functions of a potential that jump, written with comparisons alone, so that each jump is a neuron's.

    sign(u)                  (u > 0) + (u >= 0) - 1
    heaviside(u, v)          (u > 0) + ((u >= 0) - (u > 0)) * v
    clamp(floor(u), 0, 3)    (u >= 1) + (u >= 2) + (u >= 3)
    clamp(ceil(u), 0, 1)     u > 0
    round(clamp(u, 0, 2))    (u > 0.5) + (u >= 1.5), of the clamped u: what lies half way goes to the even number

Exact, for whatever number is compared. What has no bound jumps without end, and is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Compare = Callable[[Tensor, float, bool], Tensor]
"""`u > number`, or `u >= number` if the last argument is False, in the type of `u`."""
TO_INTEGERS: dict[str, Callable[[float], int]] = {"floor": math.floor, "ceil": math.ceil, "round": round}
"""Each rounds as torch does, which has the same name for it: what lies half way goes to the even number."""
_CLAMPS = ("clamp", "clip")
_MOST = 16
"""So many jumps are at most taken apart."""


class Jumps:
    """The calls of one run that jump."""

    def __init__(self) -> None:
        self._clamped: dict[int, tuple[Tensor, float, float]] = {}
        self._whole: dict[int, tuple[Tensor, Tensor, str]] = {}

    def of(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], compare: Compare) -> Tensor | None:
        """What a call of torch gives, computed by comparisons; None if it does not jump, or without bound."""
        name, u = getattr(function, "__name__", ""), args[0] if args else None
        if not isinstance(u, Tensor) or isinstance(u, nn.Parameter) or not u.is_floating_point():
            return None
        if name in ("sign", "sgn") and len(args) == 1 and not kwargs:
            return compare(u, 0.0, True) + compare(u, 0.0, False) - 1
        if name == "heaviside" and (len(args) == 2 or "values" in kwargs):
            above, values = compare(u, 0.0, True), args[1] if len(args) == 2 else kwargs["values"]
            return above + (compare(u, 0.0, False) - above) * values
        if name in TO_INTEGERS and len(args) == 1 and not kwargs and id(u) in self._clamped:
            _, low, high = self._clamped[id(u)]
            return _levels(name, u, TO_INTEGERS[name](low), TO_INTEGERS[name](high), compare)
        if name in _CLAMPS and id(u) in self._whole and (bounds := _bounds(args, kwargs)) is not None:
            _, of, rounding = self._whole[id(u)]
            low, high = bounds
            return _levels(rounding, of, int(low), int(high), compare) if low.is_integer() and high.is_integer() else None
        return None

    def note(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Keep in mind what a call gave, for a call on that."""
        name = getattr(function, "__name__", "")
        if not isinstance(result, Tensor) or not isinstance(args[0] if args else None, Tensor):
            return
        if name in _CLAMPS and (bounds := _bounds(args, kwargs)) is not None:
            self._clamped[id(result)] = (result, *bounds)
        if name in TO_INTEGERS and len(args) == 1 and not kwargs:
            self._whole[id(result)] = (result, args[0], name)


def _bounds(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, float] | None:
    """Between what a call of clamp keeps its first argument; None if that are no two numbers."""
    named = {**dict(zip(("min", "max"), args[1:], strict=False)), **kwargs}
    low, high = named.get("min"), named.get("max")
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else None


def _levels(name: str, u: Tensor, low: int, high: int, compare: Compare) -> Tensor | None:
    """`u` `[B, ...]` as the integers from `low` to `high` that floor, ceil or round make of it; None if they are too many."""
    if not low < high <= low + _MOST:
        return None
    jumps = [compare(u, *_jump(name, level)) for level in range(low + 1, high + 1)]
    total = sum(jumps[1:], jumps[0])
    return total + low if low else total


def _jump(name: str, level: int) -> tuple[float, bool]:
    """From where on a value becomes `level` or more, and whether only above that."""
    if name == "floor":
        return float(level), False
    return (level - 1.0, True) if name == "ceil" else (level - 0.5, level % 2 == 1)
