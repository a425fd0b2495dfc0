"""Runtimes: engines that run an artifact, all behind `Candidate`. One file each, one line in `RUNTIMES`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from snnconv.errors import BackendMissing, InputError
from snnconv.files import readable
from snnconv.runtimes.candidate import Candidate, Observation, RunFailure

RUNTIMES = {
    ".pt2": "torch_program",
    ".onnx": "onnx_runtime",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
}

__all__ = ["RUNTIMES", "Candidate", "Observation", "RunFailure", "open_candidate"]


def open_candidate(path: Path, suffix: str | None = None) -> Candidate:
    """Open an artifact in the runtime of its suffix.

    Raises `InputError` for a file that cannot be read and `BackendMissing` where the runtime is not installed.
    """
    readable(path)
    name = RUNTIMES.get(suffix or path.suffix)
    if name is None:
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"a candidate is one of {', '.join(RUNTIMES)}")
    try:
        return import_module(f"snnconv.runtimes.{name}").open(path)
    except ModuleNotFoundError as error:
        raise BackendMissing(f"{path}: needs the package '{error.name}'", f"pip install {error.name}") from error
