"""`snnconv convert`: fold, export and verify in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli.command import command
from snnconv.cli.options import (
    SUFFIXES,
    ArtifactArguments,
    DataArguments,
    EngineName,
    PolicyArguments,
    ReportArguments,
    SourceArguments,
    load,
    say_if_dropped,
)

Outputs = Annotated[list[Path], typer.Option("-o", "--out", metavar="ARTIFACT", help=f"Where it goes: {SUFFIXES}; repeatable.")]


@command
def convert(
    source: SourceArguments,
    out: Outputs,
    artifact: ArtifactArguments,
    data: DataArguments,
    policy: PolicyArguments,
    results: ReportArguments,
    engine: EngineName = None,
) -> int:
    """Fold a checkpoint, export it, verify it: the main job in one command."""
    from snnconv.cli import progress, render
    from snnconv.convert import check_targets
    from snnconv.convert import convert as run
    from snnconv.request import Request
    from snnconv.verify import Plan

    targets = tuple(artifact.target(path) for path in out)
    check_targets(targets)
    results.check()
    given = (data.data, data.labels, Plan(seed=data.seed), policy.read(), targets)
    request = Request(source.path, source.options(), *given, engine=engine)
    with progress.stages(len(targets) + 1) as begin:
        begin("reading")
        result = run(request, load(request), begin)
    for verdict in result.verdicts:
        say_if_dropped(verdict)
    return render.finish_conversion(result, results.files, results.json)
