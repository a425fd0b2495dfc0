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
    PolicyArguments,
    ReportArguments,
    SourceArguments,
    say_if_dropped,
)

Outputs = Annotated[
    list[Path], typer.Option("-o", "--output", metavar="ARTIFACT", help=f"Where it goes: {SUFFIXES}; repeatable.")
]


@command
def convert(
    source: SourceArguments,
    output: Outputs,
    artifact: ArtifactArguments,
    data: DataArguments,
    policy: PolicyArguments,
    results: ReportArguments,
) -> int:
    """Fold a checkpoint, export it, verify it: the main job in one command."""
    from snnconv.cli import progress, render
    from snnconv.convert import check_targets
    from snnconv.convert import convert as run
    from snnconv.verify import Plan

    targets = [artifact.target(path) for path in output]
    check_targets(targets)
    results.check()
    demanded = policy.read()
    with progress.stages(len(targets) + 1) as begin:
        begin("reading")
        loaded, samples = data.load(source)
        result = run(loaded, targets, samples, source.path, demanded, Plan(seed=data.seed), begin)
    for verdict in result.verdicts:
        say_if_dropped(verdict)
    return render.finish_conversion(result, results.files, results.json)
