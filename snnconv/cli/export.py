"""`snnconv export`: a folded program becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli import options as o

Program = Annotated[Path, typer.Argument(metavar="F.pt2", help="A folded program, made by `snnconv fold`.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="ARTIFACT", help="Where it goes: .onnx, .ts.")]
FormatName = Annotated[str | None, o.choice("--format", ("onnx", "torchscript"), "Format, where the suffix is silent.")]


def export(
    program: Program,
    output: Output,
    format: FormatName = None,
    time: o.TimeForm = "sequence",
    batch: o.Batch = "dynamic",
    data: o.DataPlace = None,
    labels: o.Labels = None,
    seed: o.Seed = 0,
    policy: o.PolicySettings = None,
    config: o.Config = None,
    report: o.Report = None,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Export a folded program; the file gets its name only once it is verified."""
    form, size = o.time_form(time), o.batch_size(batch)
    from snnconv.convert import Target, check_output, check_targets, export_verified, open_folded
    from snnconv.report import check_reports
    from snnconv.verify import Plan

    target = Target(check_output(output, force), format, form, size)
    check_targets([target], also=", or --format")
    check_reports(report or [])
    folded, source = open_folded(program)
    o.say_assumed(source.settings, fixed=True)
    samples = o.read_data(o.preview_data(data, labels), source, seed)
    demanded = o.policy(policy, config)
    from snnconv.cli import progress, render

    with progress.stages(1) as begin:
        verdict = export_verified(source, folded, target, samples, program, demanded, Plan(seed=seed), begin(output.name))
    o.say_if_dropped(verdict)
    return render.finish_verifications([verdict], report or [], "json" if json else "text")
