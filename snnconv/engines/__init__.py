"""Runtimes: engines that run an artifact, all behind `Artifact` and `Candidate`. One file each, one line in `RUNTIMES`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from snnconv.engines.candidate import Artifact, Candidate, Observation, RunFailure
from snnconv.errors import BackendMissing, InputError
from snnconv.files import Content, read

RUNTIMES = {
    ".pt2": "torch_program",
    ".onnx": "onnx_runtime",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
}

__all__ = ["RUNTIMES", "Artifact", "Candidate", "Observation", "RunFailure", "open_candidate", "open_content"]


def open_candidate(path: Path, suffix: str | None = None) -> Artifact:
    """Read an artifact, once, in the runtime of its suffix; no code in it is run before its `load`.

    Raises `InputError` for a file that cannot be read and `BackendMissing` if the runtime is not installed.
    """
    return open_content(read(path), suffix)


def open_content(content: Content, suffix: str | None = None) -> Artifact:
    """The same for a file of which the bytes are at hand."""
    path = content.path
    name = RUNTIMES.get(suffix or path.suffix)
    if name is None:
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"a candidate is one of {', '.join(RUNTIMES)}")
    try:
        return import_module(f"snnconv.engines.{name}").open(content)
    except ModuleNotFoundError as error:
        raise BackendMissing(f"{path}: needs the package '{error.name}'", f"pip install {error.name}") from error
