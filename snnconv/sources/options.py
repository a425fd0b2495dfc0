"""The options of a source, and where the value of each comes from: command line, configuration file, source, data or default."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnconv.config import read_settings
from snnconv.errors import InputError
from snnconv.hints import meant
from snnconv.ir.program import TimeContract
from snnconv.results import DEFAULT
from snnconv.words import INPUTS, NORMS, READOUTS

_WORDS = {"static": "one image", "event": "frames over time"}
DATA = "data"
"""The origin of a setting that follows from the data."""
NETWORK = "network"
"""The origin of a setting that follows from what the network does."""
_OTHERS = ("tool", "project", "verify")
"""Tables of a configuration file that are not about the source."""


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about a source; None leaves it to the configuration file, the checkpoint or the stated default.

    Raises `InputError` for a value out of range.

    Attributes:
        arch: the name of an architecture (`snnconv.sources.mpbn`), or `package.module:factory`.
        timesteps: T.
        input: "static" (one image shown T times) or "event" (T frames).
        input_shape: shape of one frame, `(C, H, W)`.
        readout: mean, sum, last, max or none.
        output: the name or index of the output, several of them with commas, or "all", if the network has several.
        leak, threshold, strict: constants of the neurons that a state-dict does not hold.
        weights: the set of weights in a checkpoint that holds several, by its keys: `checkpoint/model_ema`.
        ignore: patterns of keys of a checkpoint that are left out, with `*` for any characters.
        rename: `FROM=TO` for keys of a checkpoint that begin with the names `FROM`, to begin with `TO`.
        keep_norm: which norms of each input stay in the artifact, of `snnconv.words.NORMS`.
        configured: the configuration file of each option that was read from one.
        samples: the shapes that one sample of the data may have, if there are data; options left open follow from them.
    """

    arch: str | None = None
    timesteps: int | None = None
    input: str | None = None
    input_shape: tuple[int, ...] | None = None
    readout: str | None = None
    output: str | None = None
    leak: float | None = None
    threshold: float | None = None
    strict: bool | None = None
    weights: str | None = None
    ignore: tuple[str, ...] | None = None
    rename: tuple[str, ...] | None = None
    keep_norm: tuple[str, ...] | None = None
    configured: dict[str, str] = field(default_factory=dict)
    samples: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.timesteps is not None and self.timesteps < 1:
            raise InputError(f"timesteps is {self.timesteps}", "it is at least 1")
        for name, allowed in (("input", INPUTS), ("readout", READOUTS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise InputError(f"{name} is '{value}'", f"{meant(value, allowed)}it is one of {', '.join(allowed)}")
        for norm in self.keep_norm or ():
            if norm not in NORMS:
                raise InputError(f"keep-norm is '{norm}'", f"{meant(norm, NORMS)}it is some of {', '.join(NORMS)}")
        for name in ("leak", "threshold"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}", "it is a finite number")
        if self.input_shape is not None and (not self.input_shape or min(self.input_shape) < 1):
            raise InputError(f"input shape is {list(self.input_shape)}", "it is positive sizes, as in 3,32,32")
        for rule in self.rename or ():
            if not rule.partition("=")[0] or "=" not in rule:
                raise InputError(f"rename is '{rule}'", "it is FROM=TO, as in backbone=net; nothing behind = drops FROM")


class Resolver:
    """Gives each option its value, and remembers where that came from.

    An option given on the command line comes first, then the configuration file, the source or the data, and the stated default.

    Attributes:
        resolved: every option asked for so far, as `VALUE (ORIGIN)`.
    """

    def __init__(self, options: SourceOptions) -> None:
        self.options = options
        self.resolved: dict[str, str] = {}

    def __call__(self, name: str, default: Any, origin: str = DEFAULT) -> Any:
        """The value of option `name`: what the user gave, or else `default`, which comes from `origin`."""
        given = getattr(self.options, name)
        if given is None:
            value, where = default, origin
        else:
            value, where = given, self.options.configured.get(name, "option")
        self.resolved[name] = f"{_shown(value)} ({where})"
        return value

    def given(self, *names: str) -> None:
        """Remember those of these options that the user gave; they have no default."""
        for name in names:
            if getattr(self.options, name) is not None:
                self(name, None)

    def frame(self, default: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one frame. If it is not given, it follows from data with as many channels as `default`."""
        seen = [shape[-len(default) :] for shape in self.options.samples]
        fitting = [shape for shape in seen if len(shape) == len(default) and shape[0] == default[0]]
        return tuple(self("input_shape", *((fitting[0], DATA) if fitting else (default, DEFAULT))))

    def contract(self, frame: tuple[int, ...], timesteps: int, origin: str = DEFAULT) -> TimeContract:
        """How frames of this shape come over time. T is `timesteps`, unless it is given or follows from frames in the data.

        Raises `InputError` if what is given contradicts the data.
        """
        ranks = {len(shape) - len(frame): shape for shape in self.options.samples if all(shape)}
        kinds = [kind for rank, kind in enumerate(INPUTS) if rank in ranks]
        seen = kinds[0] if len(kinds) == 1 else None
        event = self("input", *((seen, DATA) if seen == "event" else ("static", DEFAULT))) == "event"
        if seen and event != (seen == "event"):
            raise self._contradiction("input", ranks[INPUTS.index(seen)], _WORDS[seen], seen)
        if event and 1 in ranks and origin == DEFAULT:
            timesteps, origin = ranks[1][0], DATA
        steps = self("timesteps", timesteps, origin)
        if event and 1 in ranks and steps != ranks[1][0]:
            raise self._contradiction("timesteps", ranks[1], f"{ranks[1][0]} frames", ranks[1][0])
        return TimeContract(steps, frame, event, self("readout", "mean"))

    def _contradiction(self, name: str, sample: tuple[int, ...], words: str, seen: object) -> InputError:
        return InputError(
            f"{name} is {self.resolved[name]}, but one sample of the data is {list(sample)}: {words}",
            f"pass --{name} {seen} to take the data as they are, or give data that fit",
        )

    def kept_norms(self) -> tuple[str, ...]:
        """Which norms of each input stay in the artifact; a setting only if there are any."""
        return tuple(self("keep_norm", ())) if self.options.keep_norm else ()

    def reject(self, *names: str, reason: str) -> None:
        """Raise `InputError` if one of these options was given, because it means nothing to this source."""
        for name in names:
            if getattr(self.options, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} does not apply: {reason}", "leave it out")


def configure(options: SourceOptions, config: Path | None) -> SourceOptions:
    """Take the options that were not given from `config`, or from `[tool.snnconv]` in ./pyproject.toml.

    Raises `InputError` for a file that cannot be read, an unknown setting or a wrong value.
    """
    path, table = read_settings(config)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if key in _OTHERS and isinstance(value, Mapping):
            continue
        if name not in NAMES:
            names = sorted(field.replace("_", "-") for field in NAMES)
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
    "output": (str, int, list),
    "leak": (int, float),
    "threshold": (int, float),
    "strict": (bool,),
    "weights": (str,),
    "ignore": (list, str),
    "rename": (list, str),
    "keep_norm": (list, str),
}
NAMES = tuple(_TYPES)
"""The settings of a source, in the order in which results show them."""


def _typed(path: Path, key: str, name: str, value: Any) -> Any:
    """The value of a setting in the type of its option. Raises `InputError` if it has another type."""
    if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
        raise InputError(f"{path}: '{key}' is {value!r}", f"it is a {' or '.join(t.__name__ for t in _TYPES[name])}")
    if name in ("ignore", "rename"):
        return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
    if name == "input_shape":
        try:
            return parse_shape(",".join(map(str, value)) if isinstance(value, list) else str(value))
        except InputError as error:
            raise InputError(f"{path}: {error.what}", error.todo) from error
    if name == "output":
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if name == "keep_norm":
        return parse_norms(",".join(map(str, value)) if isinstance(value, list) else str(value))
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


def parse_norms(text: str) -> tuple[str, ...]:
    """`layer,group` as `("layer", "group")`."""
    return tuple(filter(None, map(str.strip, text.split(","))))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """A number in its short form, if that is exact."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def span(values: Sequence[Tensor]) -> str:
    """The values in tensors, in short: `0.25`, or `0.25..0.9`."""
    low, high = (torch.stack([extreme(value) for value in values]) for extreme in (torch.amin, torch.amax))
    ends = low.min().item(), high.max().item()
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g}..{ends[1]:g}"
