"""`snnconv bench`: how large artifacts are and how long they take, each in its engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snnconv.cli.command import command
from snnconv.cli.options import SUFFIXES, DataArguments, EngineName, Json
from snnconv.errors import InputError, Refused

if TYPE_CHECKING:
    from snnconv.data import Preview
    from snnconv.engines import Deployment
    from snnconv.results import Measure

Artifacts = Annotated[list[Path], typer.Argument(metavar="ARTIFACT", help=f"Artifacts: {SUFFIXES}, .pt2.")]
Samples = Annotated[int | None, typer.Option("--batch", metavar="N", min=1, help="Samples at once; 1, or as the artifacts are.")]
RunForeignCode = Annotated[
    bool, typer.Option("--run-foreign-code", help="Also run a .ts; without a source nobody knows whose code it is.")
]


@command
def bench(
    artifacts: Artifacts,
    data: DataArguments,
    batch: Samples = None,
    engine: EngineName = None,
    run_foreign_code: RunForeignCode = False,
    json: Json = False,
) -> int:
    """Time artifacts, each in its engine, on the same samples."""
    from snnconv.cli import render
    from snnconv.data import preview
    from snnconv.engines import open_candidate
    from snnconv.report import terminal
    from snnconv.results.document import benchmark_document

    opened = [(path, open_candidate(path, engine)) for path in artifacts]
    for path, artifact in opened:
        _check_trusted(path, artifact, run_foreign_code)
    size = _batch([(path, artifact.batch) for path, artifact in opened], batch)
    seen = preview(data.data, data.labels, data.seed)
    measures = tuple(_measured(path, artifact, seen, size) for path, artifact in opened)
    if json:
        render.print_json(benchmark_document(measures))
    else:
        render.show(terminal.benchmark(measures))
    return 0


def _check_trusted(path: Path, artifact: Deployment, trusted: bool) -> None:
    """Raise `Refused` for code that an artifact brings along: only with a source can it be held against snnconv's own."""
    if artifact.format == "torchscript" and not trusted:
        raise Refused(
            f"{path}: brings code along, and without a source nobody knows whose it is",
            "verify it first, then let it run with --run-foreign-code",
        )


def _batch(artifacts: list[tuple[Path, int | None]], wanted: int | None) -> int:
    """How many samples every artifact is to take at once. Raises `InputError` if they cannot all take as many."""
    size = wanted or next((fixed for _, fixed in artifacts if fixed is not None), 1)
    for path, fixed in artifacts:
        if fixed not in (None, size):
            raise InputError(f"{path}: takes {fixed} samples at once, not {size}", "time artifacts of one batch size")
    return size


def _measured(path: Path, artifact: Deployment, seen: Preview, size: int) -> Measure:
    """One artifact, timed. Raises `InputError` if it does not run."""
    from snnconv.data import batch
    from snnconv.engines import RunFailure
    from snnconv.files import shown
    from snnconv.latency import measure
    from snnconv.results import Measure

    x = batch(seen.open(artifact.contract), size)
    try:
        latency = measure(artifact.load().run, x).median
    except RunFailure as error:
        raise InputError(f"{path}: does not run in {artifact.runtime}: {error}", "export it again") from error
    return Measure(f"{shown(path)}, {artifact.runtime}", path.stat().st_size, latency, size)
