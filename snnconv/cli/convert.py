"""`snnconv convert`: fold, export and verify in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli import options as o

Outputs = Annotated[list[Path], typer.Option("-o", "--output", metavar="ARTIFACT", help="Where it goes: .onnx, .ts; repeatable.")]


@o.reads_source
def convert(
    source: o.SourceArguments,
    output: Outputs,
    time: o.TimeForm = "sequence",
    batch: o.Batch = "dynamic",
    data: o.DataPlace = None,
    labels: o.Labels = None,
    seed: o.Seed = 0,
    policy: o.PolicySettings = None,
    report: o.Report = None,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Fold a checkpoint, export it, verify it: the main job in one command."""
    form, size = o.time_form(time), o.batch_size(batch)
    from snnconv.convert import Target, check_output, check_targets
    from snnconv.convert import convert as run
    from snnconv.report import check_reports
    from snnconv.verify import Plan

    targets = [Target(check_output(path, force), None, form, size) for path in output]
    check_targets(targets)
    check_reports(report or [])
    demanded = o.policy(policy, source.config)
    from snnconv.cli import progress, render

    with progress.stages(len(targets) + 1) as begin:
        begin("reading")
        seen = o.preview_data(data, labels)
        loaded = source.load(seen)
        samples = o.read_data(seen, loaded, seed)
        result = run(loaded, targets, samples, source.path, demanded, Plan(seed=seed), begin)
    for verdict in result.verdicts:
        o.say_if_dropped(verdict)
    return render.finish_conversion(result, report or [], json)
