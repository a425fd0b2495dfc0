"""Where a layer that is no canonical neuron fires: the comparisons in its forward, each as a neuron of its own.

Such a layer is taken as it is, its memory being a state of the program. What must not be left to its operators is when it
fires: rounding may decide that otherwise in another engine, and then everything behind it is another number. So each comparison
of a potential with a threshold is given to a layer inside it, a neuron without memory, which is captured and judged as every
neuron is:

    u >= 0.5     the neuron fires on u, from 0.5 on
    u >= theta   the neuron fires on u - theta, from 0 on; in floats that is the same decision
    u < 0.5      it holds where the neuron that fires from 0.5 on is silent
    sign(u)      two neurons: `snnconv.identify.jumps`

What is inside another neuron is that neuron's own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from snnconv.adapters import Adapter, reset_with_network, teach
from snnconv.adapters.recognition import adapter_of
from snnconv.identify.jumps import TO_INTEGERS, Jumps
from snnconv.ir.neuron import Neuron
from snnconv.user_code import is_library, place_of

_GREATER = dict.fromkeys(("gt", "__gt__", "greater"), True) | dict.fromkeys(("ge", "__ge__", "greater_equal"), False)
_LESS = dict.fromkeys(("lt", "__lt__", "less"), True) | dict.fromkeys(("le", "__le__", "less_equal"), False)
_NAME = "fires"
_CALL = nn.Module._call_impl.__code__
"""The code in which every layer is called."""


class Comparison(NamedTuple):
    """A comparison of a potential with a number; of two tensors, of their difference with 0."""

    threshold: float
    strict: bool


class Firing(nn.Module):
    """A neuron without memory: 1 where its potential `[B, ...]` is above the threshold, or on it unless it is strict."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.comparison = comparison
        teach(self, Adapter(_neuron, reset_with_network))

    def forward(self, u: Tensor) -> Tensor:
        """The spikes, in the type of `u`."""
        threshold, strict = self.comparison
        return (u > threshold if strict else u >= threshold).to(u.dtype)


def _neuron(layer: Any) -> Neuron:
    threshold, nothing = torch.tensor(layer.comparison.threshold, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    return Neuron(threshold, leak=nothing, reset=nothing, soft=True, strict=layer.comparison.strict)


def comparisons(run: Callable[[], object], batch: int) -> tuple[Comparison, ...]:
    """The comparisons of samples `[batch, ...]` in the order in which `run` makes them."""
    return tuple(made.comparison for made in made_in(run, batch))


@dataclass(frozen=True)
class Made:
    """A comparison that was made, what it compared, and the weights that were computed with since the one before."""

    comparison: Comparison
    weights: tuple[int, ...]
    compared: tuple[Any, ...]

    def is_another_step_of(self, other: Made) -> bool:
        """Whether it may be the same comparison as the `other`, made before, on the potential of the next step."""
        same = all(a is b for a, b in zip(self.compared, other.compared, strict=True))
        return self.comparison == other.comparison and not self.weights and not same


def made_in(run: Callable[[], object], batch: int) -> list[Made]:
    """The same, with the weights that tell the places in a network apart."""
    with _Recording(batch) as seen:
        run()
    return seen.made


def lines_that_fire(run: Callable[[], object], batch: int) -> tuple[list[str], list[str]]:
    """The lines of the user's code, in words, that compare samples, and those that round them to any integer, as they come."""
    with _Recording(batch, with_lines=True) as seen:
        run()
    return seen.compares_in, seen.rounds_in


def seems_to_loop(made: Sequence[Made]) -> bool:
    """Whether a neuron seems to have run for several steps, as one does that takes channels for steps: no weights are between."""

    def goes_on(start: int, length: int) -> bool:
        return all(made[i + length].is_another_step_of(made[i]) for i in range(start, start + 2 * length))

    lengths = range(1, len(made) // 3 + 1)
    return any(goes_on(start, length) for length in lengths for start in range(len(made) - 3 * length + 1))


def split_off(layer: nn.Module, found: Sequence[Comparison]) -> None:
    """Let `layer`, in place, make the comparisons that were `found` in one step of it by layers of its own.

    A call of it may be several steps.
    """
    if not found:
        return
    kind = type(layer)
    name = _NAME
    while hasattr(layer, name):
        name += "_"
    names = [name if len(found) == 1 else f"{name}{i}" for i in range(1, len(found) + 1)]
    # Asked now, because asking may run a layer, which must not be while the network is traced.
    neurons = [path for path, inner in layer.named_modules() if path and _is_neuron(inner)]
    for inner, comparison in zip(names, found, strict=True):
        layer.add_module(inner, Firing(comparison))

    @functools.wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        inside = [self.get_submodule(path) for path in (*neurons, *names)]
        with _Giving([self.get_submodule(inner) for inner in names], lambda called: any(called is one for one in inside)):
            return kind.forward(self, *args, **kwargs)

    layer.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


@dataclass(frozen=True)
class _Compared:
    """What a comparison compares, and whether it holds where the neuron is silent."""

    potential: Callable[[], Tensor]
    comparison: Comparison
    silent: bool = False


def _compared(function: Any, args: tuple[Any, ...], is_neuron: Callable[[nn.Module], bool]) -> _Compared | None:
    """The same of a call of torch; None if it is no comparison of floats, or is made inside a layer that `is_neuron`."""
    name = getattr(function, "__name__", "")
    if len(args) != 2 or name not in _GREATER | _LESS or not isinstance(args[0], Tensor):
        return None
    u, other = args
    if not u.is_floating_point() or _is_in(is_neuron):
        return None
    if isinstance(other, Tensor):
        if not other.is_floating_point() or not max(u.dim(), other.dim()):
            return None
        high, low = (u, other) if name in _GREATER else (other, u)
        return _Compared(lambda: high - low, Comparison(0.0, (_GREATER | _LESS)[name]))
    if isinstance(other, int | float):
        strict = _GREATER[name] if name in _GREATER else not _LESS[name]
        return _Compared(lambda: u, Comparison(float(other), strict), silent=name in _LESS)
    return None


def _is_neuron(layer: nn.Module) -> bool:
    """Whether a layer is known as a neuron."""
    return adapter_of(layer) is not None


def _is_in(is_neuron: Callable[[nn.Module], bool]) -> bool:
    """Whether a layer that `is_neuron` is being called."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is _CALL and is_neuron(frame.f_locals["self"]):
            return True
    return False


def _own_line() -> str:
    """The innermost line of the user's code that is being run, in words; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else place_of(frame.f_code.co_filename, frame.f_lineno)


class _ByComparisons(TorchFunctionMode):
    """Computes what jumps by comparisons, and hands these over as they are made."""

    def __init__(self) -> None:
        super().__init__()
        self._jumps = Jumps()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if (jumping := self._jumps.of(func, args, kwargs or {}, self._compare)) is not None:
            return jumping
        result = self.called(func, args, kwargs or {})
        self._jumps.note(func, args, kwargs or {}, result)
        return result

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call of torch that does not jump."""
        raise NotImplementedError

    def _compare(self, u: Tensor, number: float, strict: bool) -> Tensor:
        holds: Tensor = self.called(torch.gt if strict else torch.ge, (u, number), {})
        return holds.to(u.dtype)


class _Recording(_ByComparisons):
    def __init__(self, batch: int, with_lines: bool = False) -> None:
        super().__init__()
        self.made: list[Made] = []
        self.compares_in: list[str] = []
        self.rounds_in: list[str] = []
        self._batch, self._weights, self._with_lines = batch, list[int](), with_lines

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note what is compared."""
        compared, result = _compared(func, args, _is_neuron), func(*args, **kwargs)
        self._weights += [id(a) for a in (*args, *kwargs.values()) if isinstance(a, nn.Parameter) and a.dim() > 1]
        of_samples = getattr(result, "shape", ())[:1] == (self._batch,)
        if self._with_lines and of_samples and compared is not None:
            self.compares_in.append(_own_line())
        if self._with_lines and of_samples and getattr(func, "__name__", "") in TO_INTEGERS:
            self.rounds_in.append(_own_line())
        if compared is not None and of_samples:
            self.made.append(Made(compared.comparison, tuple(self._weights), args))
            self._weights = []
        return result


class _Giving(_ByComparisons):
    """Gives the comparisons of each step to `layers`, in their order; those inside a layer that `is_neuron` are its own."""

    def __init__(self, layers: list[nn.Module], is_neuron: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self._layers, self._given, self._is_neuron = layers, 0, is_neuron

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the next layer compare."""
        layer = self._layers[self._given % len(self._layers)]
        compared = _compared(func, args, self._is_neuron)
        if compared is None or compared.comparison != layer.comparison:
            return func(*args, **kwargs)
        self._given += 1
        spikes = layer(compared.potential())
        return spikes == 0 if compared.silent else spikes != 0
