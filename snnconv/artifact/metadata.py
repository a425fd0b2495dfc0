"""What an exported artifact says about itself, in every format: written by exporters, read by engines and by verify."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import snnconv
from snnconv.errors import InputError
from snnconv.files import parse_json, reading
from snnconv.ir.neuron import Shape
from snnconv.ir.program import SpikingProgram, TimeContract
from snnconv.lower import FORMS

METADATA_FORMAT = 1
"""The format of the metadata: an artifact of another one is refused by name."""
LARGEST_BATCH = 2**20


@dataclass(frozen=True)
class Metadata:
    """What it takes to run an artifact and to hold it against a source.

    Attributes:
        form: "sequence" or "step".
        batch: a fixed batch size; None for any.
        contract: what it expects over time.
        neurons: the shape of the state of each neuron, in the order of the states.
        memories: the shape of every other state, behind them.
        counts_steps: whether the last state of a step counts the steps.
        sha256_of_source: of the checkpoint it was made from.
        toolchain: the versions of the packages that wrote it; empty in files written before they were kept.
        document: everything that was read.
    """

    form: str
    batch: int | None
    contract: TimeContract
    neurons: dict[str, Shape]
    counts_steps: bool
    sha256_of_source: str
    toolchain: dict[str, str] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    memories: dict[str, Shape] = field(default_factory=dict)


def describe(program: SpikingProgram, form: str, batch: int | None, packages: Iterable[str] = ()) -> dict[str, Any]:
    """The metadata of an artifact of `program`, as JSON values; `packages` wrote it beside snnconv."""
    return {
        "format": METADATA_FORMAT,
        "snnconv": snnconv.__version__,
        "toolchain": toolchain(packages),
        "form": form,
        "batch": batch,
        "contract": program.contract.plain(),
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
        "memories": [{"name": name, "state": list(shape)} for name, shape in program.memories.items()],
        "sites": [asdict(site) for site in program.sites],
        "source": asdict(program.origin),
    }


def toolchain(packages: Iterable[str]) -> dict[str, str]:
    """The versions of snnconv and of `packages`, which write an artifact together."""
    return {"snnconv": snnconv.__version__, **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout of its own
        return "unknown"


def read_metadata(path: Path, text: str | bytes) -> Metadata:
    """Read the metadata of an artifact. Raises `InputError` if it is damaged or of another format."""
    with reading(path, "its snnconv metadata is damaged", "export it again"):
        document = parse_json(text)
        if document["format"] != METADATA_FORMAT:
            raise InputError(
                f"{path}: its metadata is of format {document['format']!r}, but this snnconv reads {METADATA_FORMAT}",
                "use the snnconv that wrote it, or export it again",
            )
        contract = TimeContract.from_plain(document["contract"])
        batch, form = document["batch"], document["form"]
        if form not in FORMS or not (batch is None or (isinstance(batch, int) and 0 < batch <= LARGEST_BATCH)):
            raise ValueError(f"form {form!r}, batch {batch!r}")
        return Metadata(
            form,
            batch,
            contract,
            neurons={str(neuron["name"]): tuple(map(int, neuron["state"])) for neuron in document["neurons"]},
            counts_steps=bool(document["counts_steps"]),
            sha256_of_source=str(document["source"]["sha256"]),
            toolchain={str(name): str(found) for name, found in document.get("toolchain", {}).items()},
            document=document,
            memories={str(kept["name"]): tuple(map(int, kept["state"])) for kept in document.get("memories", [])},
        )


def foreign(path: Path) -> InputError:
    """The error for a file that carries no metadata of ours."""
    return InputError(f"{path}: carries no snnconv metadata", "export it with snnconv")
