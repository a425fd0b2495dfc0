"""Engines: what runs artifacts. One file each, one line in `ENGINES`; other packages add theirs under `snnconv.engines`."""

from __future__ import annotations

from pathlib import Path

from snnconv.artifact.artifact import Artifact
from snnconv.artifact.formats import read_artifact
from snnconv.engines.engine import Candidate, Deployment, Engine, Observation, RunFailure
from snnconv.errors import BackendMissing, InputError
from snnconv.files import Content, read
from snnconv.hints import meant
from snnconv.registry import Registry

ENGINES: Registry[Engine] = Registry(
    "snnconv.engines",
    {
        "torch": "snnconv.engines.torch_program:ENGINE",
        "torchscript": "snnconv.engines.torchscript:ENGINE",
        "onnxruntime": "snnconv.engines.onnx_runtime:ENGINE",
    },
)

__all__ = [
    "ENGINES",
    "Artifact",
    "Candidate",
    "Deployment",
    "Engine",
    "Observation",
    "RunFailure",
    "engine_of",
    "open_candidate",
    "open_content",
]


def check_engine(name: str | None) -> str | None:
    """`name`, if there is an engine called so. Raises `InputError`."""
    if name is not None and name not in ENGINES:
        names = ENGINES.names()
        raise InputError(f"--engine '{name}' is unknown", f"{meant(name, names)}it is one of {', '.join(names)}")
    return name


def engine_of(format: str, path: Path, name: str | None = None) -> Engine:
    """The engine called `name` or, without one, the first that runs artifacts of `format`.

    Raises `InputError` for an unknown one or one that does not run the format of `path`, `BackendMissing` if its package is not
    installed.
    """
    wanted = (check_engine(name),) if name is not None else ENGINES.names()
    for candidate in wanted:
        try:
            engine = ENGINES[str(candidate)]
        except ModuleNotFoundError as error:
            raise BackendMissing(f"{path}: needs the package '{error.name}'", f"pip install {error.name}") from error
        if format in engine.formats:
            return engine
    what = f"--engine {name} runs no {format} files" if name is not None else f"no engine runs {format} files"
    raise InputError(f"{path}: {what}", "leave --engine out" if name is not None else "install one that does")


def open_candidate(path: Path, engine: str | None = None) -> Deployment:
    """Read an artifact, once, and choose its engine; no code in it is run before its `load`.

    Raises `InputError` for a file that cannot be read and `BackendMissing` if the engine is not installed.
    """
    return open_content(read(path), engine=engine)


def open_content(content: Content, format: str | None = None, engine: str | None = None) -> Deployment:
    """The same for a file whose bytes are at hand; `format` is that of its suffix if left out."""
    artifact = read_artifact(content, format)
    return Deployment(artifact, engine_of(artifact.format, content.path, engine))
