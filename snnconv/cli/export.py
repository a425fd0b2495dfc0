"""`snnconv export`: a folded program becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli.command import command
from snnconv.cli.options import (
    FORMATS,
    SUFFIXES,
    ArtifactArguments,
    DataArguments,
    PolicyArguments,
    ReportArguments,
    choice,
    say_assumed,
    say_if_dropped,
    say_if_noise,
)

Program = Annotated[Path, typer.Argument(metavar="F.pt2", help="A folded program, made by `snnconv fold`.")]
Output = Annotated[Path, typer.Option("-o", "--out", metavar="ARTIFACT", help=f"Where it goes: {SUFFIXES}.")]
FormatName = Annotated[str | None, choice("--format", FORMATS, "Format, if the suffix does not tell it.")]


@command
def export(
    program: Program,
    out: Output,
    artifact: ArtifactArguments,
    data: DataArguments,
    policy: PolicyArguments,
    results: ReportArguments,
    format: FormatName = None,
) -> int:
    """Export a folded program; the file gets its name only once it is verified."""
    from snnconv.cli import progress, render
    from snnconv.convert import check_targets, open_folded
    from snnconv.convert import export as run
    from snnconv.request import Loaded, Request
    from snnconv.verify import Plan

    targets = (artifact.target(out, format),)
    check_targets(targets, also=", or --format")
    results.check()
    folded, source = open_folded(program)
    say_assumed(source.settings, fixed=True)
    plan = Plan(seed=data.seed)
    request = Request(program, data=data.data, labels=data.labels, plan=plan, policy=policy.read(), targets=targets)
    seen = request.preview()
    say_if_noise(request)
    loaded = Loaded(source, seen.open(source.program.contract), str(program))
    with progress.stages(1) as begin:
        verdict = run(request, folded, loaded, begin)
    say_if_dropped(verdict)
    return render.finish_verifications([verdict], results.files, results.printed)
