"""How rounding errors pass through an operator: one rule for each kind.

The *magnitude* of a value is the sum of absolute values that it is computed from, so that nothing cancels; it is never smaller
than the absolute value. The *terms* of a value count the rounding errors behind it. `snnconv.verify.rounding` makes a bound of
the two: magnitude times a factor that grows with the root of the terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Magnitude = Callable[[Any, Arguments, Keywords], Any]
Slope = float | Callable[[Arguments], float]


def _as_called(target: Any, args: Arguments, kwargs: Keywords) -> Any:
    return target(*args, **kwargs)


def _once(args: Arguments, kwargs: Keywords) -> int:
    return 1


@dataclass(frozen=True)
class Rounding:
    """How an operator rounds.

    Attributes:
        magnitude: of the result, from `(operator, args, kwargs)`, in which every tensor is a magnitude.
        terms: how many rounding errors the operator adds to those of its inputs, from `(args, kwargs)`.
        numbers: the arguments, by position or name, that are values: a number there counts by its magnitude.
        multiplies: whether the relative errors of its inputs add up. If not, the largest number of terms counts.
        constants: the positions that must hold a constant, or else no rule is known.
        divisors: those of them by which the operator divides: a divisor counts at its least over time.
    """

    magnitude: Magnitude = _as_called
    terms: Callable[[Arguments, Keywords], int] = _once
    numbers: tuple[int | str, ...] = ()
    multiplies: bool = False
    constants: tuple[int, ...] = ()
    divisors: tuple[int, ...] = ()


def layer(transposed: bool) -> Rounding:
    """A sum over a weight: one term for every product of an output, one for the bias."""

    def terms(args: Arguments, kwargs: Keywords) -> int:
        weight: Tensor = args[1]
        return (weight[:, 0] if transposed else weight[0]).numel() + 1

    return Rounding(terms=terms, multiplies=True)


def average(dims: int) -> Rounding:
    """An average over windows of `dims` dimensions; its divisor may be negative."""

    def magnitude(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
        mean: Tensor = target(*args, **kwargs)
        return mean.abs()

    return Rounding(magnitude, lambda args, kwargs: math.prod(spread(args[1], dims)) + 1)


def _adaptive_terms(args: Arguments, kwargs: Keywords) -> int:
    x, outs = args[0], args[1]
    sizes = x.shape[-len(outs) :]
    return math.prod(_longest_window(size, out or size) for size, out in zip(sizes, outs, strict=True)) + 1


def _longest_window(size: int, out: int) -> int:
    """The longest of the `out` windows into which an adaptive pool divides `size` values."""
    return max(-(-(i + 1) * size // out) - i * size // out for i in range(out))


def _reduced_terms(args: Arguments, kwargs: Keywords) -> int:
    shape, given = args[0].shape, args[1] if len(args) > 1 else None
    dims = range(len(shape)) if given is None or given == [] else [given] if isinstance(given, int) else given
    return math.prod(shape[dim] for dim in dims) + 1


def _sum_of_magnitudes(target: Any, args: Arguments, kwargs: Keywords) -> Any:
    return torch.ops.aten.add.Tensor(*args, **kwargs)


def _number_less_value(target: Any, args: Arguments, kwargs: Keywords) -> Any:
    x, number = args[:2]
    alpha = args[2] if len(args) > 2 else kwargs.get("alpha", 1)
    return x * alpha + number


def _added_terms(args: Arguments, kwargs: Keywords) -> int:
    return 2 if len(args) > 2 or kwargs else 1


def _absolute(target: Any, args: Arguments, kwargs: Keywords) -> Any:
    return target(*args, **kwargs).abs()


def _larger(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
    return torch.maximum(args[0], args[1])


def _larger_finite(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
    return torch.maximum(args[0], args[1].where(args[1].isfinite(), 0.0))


def _largest(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
    return torch.ops.aten.amax.default(*args, **kwargs)


def _prelu(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
    x, slope = args
    return torch.maximum(x, -target(-x, slope))


def _softmax(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
    # A share is at most 1, and moves by at most half of what the largest of its arguments moves.
    x, dim = args[:2]
    return 1 + x.amax(dim, keepdim=True).expand_as(x)


def _log_softmax(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
    # log(p) moves by at most twice what the largest argument moves, and is the log of their number if all are 0.
    x, dim = args[:2]
    return 2 * x.amax(dim, keepdim=True).expand_as(x) + math.log(x.shape[dim]) + 1


def _along(args: Arguments, kwargs: Keywords) -> int:
    """The size of the dimension that argument 1 names, and a few more for an exponential and a logarithm."""
    return int(args[0].shape[args[1]]) + 4


def elementwise(slope: Slope, terms: int = 4, floor: Slope = 0.0) -> Rounding:
    """A function f of every element with |f'| <= `slope`: |f(x)| <= slope * |x| + |f(0)|, and an error grows at most as much.

    `floor` is the size of what is added and taken away on the way to a small result, as the 1 in exp(x) - 1. `terms` are for
    the approximation of an exponential and the like. Slope and floor may depend on the arguments.
    """

    def magnitude(target: Any, args: Arguments, kwargs: Keywords) -> Tensor:
        x = args[0]
        steepest, least = (value(args) if callable(value) else value for value in (slope, floor))
        at_zero: Tensor = target(torch.zeros_like(x), *args[1:], **kwargs)
        return steepest * x + at_zero.abs() + least

    return Rounding(magnitude, lambda args, kwargs: terms)


COPY = Rounding()
"""Every value of the result is one of the input's, or the largest of some."""
CREATE = Rounding(_absolute)
ABSOLUTE = Rounding(_absolute)
ADAPTIVE_AVERAGE = Rounding(terms=_adaptive_terms)
REDUCTION = Rounding(terms=_reduced_terms)
CUMULATIVE = Rounding(terms=_along)
ADD = Rounding(_sum_of_magnitudes, _added_terms, numbers=(0, 1, 2, "alpha"))
SUBTRACT_FROM_NUMBER = Rounding(_number_less_value, _added_terms, numbers=(1, 2, "alpha"))
MULTIPLY = Rounding(numbers=(0, 1), multiplies=True)
DIVIDE = Rounding(numbers=(0, 1), constants=(1,), divisors=(1,))
MATRIX_PRODUCT = Rounding(terms=lambda args, kwargs: int(args[0].shape[-1]), multiplies=True)
PAD = Rounding(numbers=(2, 3, "value"))
LARGER = Rounding(_larger)
LARGEST = Rounding(_largest)
START = Rounding(_larger_finite)
"""A value, or the one from which it starts; minus infinity, from which a maximum does, is exact."""
PRELU = Rounding(_prelu, constants=(1,))
SOFTMAX = Rounding(_softmax, _along)
LOG_SOFTMAX = Rounding(_log_softmax, _along)


def spread(sizes: int | Sequence[int], dims: int) -> list[int]:
    """An argument of a window as one number per dimension: torch takes one for all."""
    listed = [sizes] if isinstance(sizes, int) else list(sizes)
    return listed * dims if len(listed) == 1 else listed
