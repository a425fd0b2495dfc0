"""The options of a source and where each of them comes from: command line, configuration file, file at hand, stated default."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from snnconv.config import read_settings
from snnconv.errors import InputError
from snnconv.hints import meant
from snnconv.nn import READOUTS

INPUTS = ("static", "event")
_OTHERS = ("tool", "project", "verify")
"""Tables of a configuration file that are not about the source."""


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about a source; None leaves it to the configuration file, the checkpoint or the stated default.

    Args:
        arch: a name from `snnconv.sources`, or `package.module:factory`.
        timesteps: T.
        input: "static" (one image shown T times) or "event" (T frames).
        input_shape: shape of one frame, `(C, H, W)`.
        readout: mean, sum, last or none.
        leak, threshold, strict: constants of the neurons that a state-dict does not hold.
    """

    arch: str | None = None
    timesteps: int | None = None
    input: str | None = None
    input_shape: tuple[int, ...] | None = None
    readout: str | None = None
    leak: float | None = None
    threshold: float | None = None
    strict: bool | None = None
    configured: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.timesteps is not None and self.timesteps < 1:
            raise InputError(f"timesteps is {self.timesteps}", "it is at least 1")
        for name, allowed in (("input", INPUTS), ("readout", READOUTS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise InputError(f"{name} is '{value}'", f"{meant(value, allowed)}it is one of {', '.join(allowed)}")
        for name in ("leak", "threshold"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}", "it is a finite number")
        if self.input_shape is not None and (not self.input_shape or min(self.input_shape) < 1):
            raise InputError(f"input shape is {list(self.input_shape)}", "it is positive sizes, as in 3,32,32")


class Resolver:
    """Settles each option in the order option, configuration file, stated default, and remembers which it was."""

    def __init__(self, options: SourceOptions) -> None:
        self.options = options
        self.settled: dict[str, str] = {}

    def __call__(self, name: str, default: Any, origin: str = "default") -> Any:
        given = getattr(self.options, name)
        if given is None:
            value, where = default, origin
        else:
            value, where = given, self.options.configured.get(name, "option")
        self.settled[name] = f"{_shown(value)} ({where})"
        return value

    def reject(self, *names: str, reason: str) -> None:
        """Raise `InputError` for options that mean nothing to this source."""
        for name in names:
            if getattr(self.options, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} does not apply: {reason}", "leave it out")


def configure(options: SourceOptions, config: Path | None) -> SourceOptions:
    """Fill what the command line leaves open from `config`, or from `[tool.snnconv]` in ./pyproject.toml."""
    path, table = read_settings(config)
    known = {f.name for f in fields(SourceOptions)} - {"configured"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if key in _OTHERS and isinstance(value, Mapping):
            continue
        if name not in known:
            names = sorted(field.replace("_", "-") for field in known)
            raise InputError(f"{path}: unknown setting '{key}'", f"{meant(key, names)}known are {', '.join(names)}")
        if getattr(options, name) is None:
            values[name] = _typed(path, key, name, value)
    try:
        return replace(options, **values, configured=dict.fromkeys(values, path.name))
    except InputError as error:
        raise InputError(f"{path}: {error.what}", error.todo) from error


_TYPES: dict[str, tuple[type, ...]] = {
    "arch": (str,),
    "timesteps": (int,),
    "input": (str,),
    "input_shape": (list, str),
    "readout": (str,),
    "leak": (int, float),
    "threshold": (int, float),
    "strict": (bool,),
}


def _typed(path: Path, key: str, name: str, value: Any) -> Any:
    if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
        raise InputError(f"{path}: '{key}' is {value!r}", f"it is a {' or '.join(t.__name__ for t in _TYPES[name])}")
    if name == "input_shape":
        try:
            return parse_shape(",".join(map(str, value)) if isinstance(value, list) else str(value))
        except InputError as error:
            raise InputError(f"{path}: {error.what}", error.todo) from error
    return float(value) if isinstance(value, int) and name in ("leak", "threshold") else value


def parse_shape(text: str) -> tuple[int, ...]:
    """`3,32,32`, also spelt `3x32x32`, `(3, 32, 32)`, `[3, 32, 32]` or `3 32 32`, as `(3, 32, 32)`. Raises `InputError`."""
    sizes = text.strip()
    if sizes[:1] + sizes[-1:] in ("()", "[]"):
        sizes = sizes[1:-1].strip().removesuffix(",")
    try:
        return tuple(int(size) for size in re.split(r"\s*[,xX\u00d7]\s*|\s+", sizes.strip()))
    except ValueError as error:
        raise InputError(f"input shape is '{text}'", "it is sizes separated by commas, as in 3,32,32") from error


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
