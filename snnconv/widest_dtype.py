"""Running a network's own code in float64, or in float32 if the code fails in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from snnconv.ir.default_type import numbers_in
from snnconv.user_code import UserCodeError

Result = TypeVar("Result")


def computing_in(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """While it is on, the network's own code computes in `dtype`, float32 or float64, whatever types it names."""
    return _widened() if dtype is torch.float64 else nullcontext()


@contextmanager
def _widened() -> Iterator[None]:
    with _Widened(), _NewTensors():
        yield


class _Widened(TorchDispatchMode):
    """While it is on, float64 takes the place of float32: where the code names it (`x.float()`, `torch.zeros(n)`), in constants
    that are no parameters or buffers, and in whatever is computed.

    Only a tensor that is changed in place keeps its type. A network whose code names float32, the type that it was trained in, so
    computes in float64 once its parameters are in float64. Copying a module meanwhile would not work.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        changed = _changed_in_place(func, args, kwargs or {})

        def wide(value: Any) -> Any:
            if isinstance(value, Tensor) and value.dtype is torch.float32 and not any(value is other for other in changed):
                return value.double()
            return torch.float64 if value is torch.float32 else value

        wide_args, wide_kwargs = fx.node.map_aggregate((args, kwargs or {}), wide)
        with numbers_in(torch.float64):
            return fx.node.map_aggregate(func(*wide_args, **wide_kwargs), wide)


class _NewTensors(TorchFunctionMode):
    """While it is on, `x.new_tensor(numbers)` and `x[...] = number` round numbers to float32, the type it was trained in, and an
    RMS norm without an eps has that of float32."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is Tensor.new_tensor and args[0].dtype is torch.float64:
            kwargs = {"dtype": torch.float32, **(kwargs or {})}
        if func is Tensor.__setitem__ and isinstance(args[2], float):
            args = (*args[:2], torch.tensor(args[2], dtype=torch.float32).item())
        if func in (nn.functional.rms_norm, torch.rms_norm) and (args[3] if len(args) > 3 else (kwargs or {}).get("eps")) is None:
            args, kwargs = args[:3], {**(kwargs or {}), "eps": torch.finfo(torch.float32).eps}
        return func(*args, **(kwargs or {}))


def _changed_in_place(func: Any, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that an operator writes to."""
    given = [(a, args[i] if i < len(args) else kwargs.get(a.name)) for i, a in enumerate(func._schema.arguments)]
    return [value for a, value in given if a.alias_info is not None and a.alias_info.is_write]


def in_widest_dtype(attempt: Callable[[torch.dtype, float], Result]) -> Result:
    """What `attempt(dtype, tolerance)` returns in the widest type in which the user's code runs.

    Raises `UserCodeError` if it runs in neither.
    """
    try:
        return attempt(torch.float64, 1e-9)
    except UserCodeError:
        return attempt(torch.float32, 1e-3)
