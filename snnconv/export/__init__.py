"""Exporting: a folded program becomes an artifact. A format is one file and one line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import snnconv
from snnconv.artifact.metadata import METADATA_FORMAT
from snnconv.errors import InputError
from snnconv.export.onnx import to_onnx
from snnconv.export.torchscript import to_torchscript
from snnconv.hints import meant
from snnconv.ir.program import SpikingProgram
from snnconv.lower import Lowered, lower


@dataclass(frozen=True)
class Format:
    """An artifact format: its name, its suffixes, and `encode(lowered, batch, metadata) -> bytes`."""

    name: str
    suffixes: tuple[str, ...]
    encode: Callable[[Lowered, int | None, dict[str, Any]], bytes]


FORMATS = (
    Format("onnx", (".onnx",), to_onnx),
    Format("torchscript", (".ts", ".torchscript"), to_torchscript),
)


def format_of(path: Path, name: str | None = None, also: str = "") -> Format:
    """The format called `name`, or the one of the path's suffix.

    Raises `InputError` for an unknown one; `also` is what else helps against an unknown suffix.
    """
    found = next((f for f in FORMATS if (f.name == name if name else path.suffix in f.suffixes)), None)
    if found is not None:
        return found
    if name:
        names = [f.name for f in FORMATS]
        raise InputError(f"--format '{name}' is unknown", f"{meant(name, names)}it is one of {', '.join(names)}")
    if path.suffix == ".pt2":
        raise InputError(f"{path}: a .pt2 is a folded program, no artifact", "snnconv fold makes it")
    suffixes = {suffix: f.name for f in FORMATS for suffix in f.suffixes}
    known = ", ".join(f"{suffix} ({format})" for suffix, format in suffixes.items())
    raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"{meant(path.suffix, suffixes)}use one of {known}{also}")


def export(program: SpikingProgram, path: Path, format: Format, form: str = "sequence", batch: int | None = None) -> None:
    """Write what `encode` gives to `path`."""
    path.write_bytes(encode(program, format, form, batch))


def encode(program: SpikingProgram, format: Format, form: str = "sequence", batch: int | None = None) -> bytes:
    """`program` in a format.

    Args:
        form: "sequence" or "step".
        batch: a fixed batch size, or None for any.

    Raises `Refused` where the format cannot hold the program.
    """
    lowered = lower(program, form)
    return format.encode(lowered, batch, describe(program, form, batch))


def describe(program: SpikingProgram, form: str, batch: int | None) -> dict[str, Any]:
    """What an artifact says about itself: version, time contract, neuron table, outcome of every site, source."""
    return {
        "format": METADATA_FORMAT,
        "snnconv": snnconv.__version__,
        "form": form,
        "batch": batch,
        "contract": asdict(program.contract),
        "counts_steps": program.counts_steps,
        "neurons": [
            {
                "name": name,
                "shape": list(neuron.shape),
                "state": list(neuron.state_shape),
                "reset": "soft" if neuron.soft else "hard",
                "fires_on": ">" if neuron.strict else ">=",
                "thresholds": neuron.threshold.numel(),
                "inverted": 0 if neuron.inverted is None else int(neuron.inverted.sum()),
                "kernel": program.proofs[name].kernel if name in program.proofs else None,
            }
            for name, neuron in program.neurons.items()
        ],
        "sites": [asdict(site) for site in program.sites],
        "source": asdict(program.origin),
    }
