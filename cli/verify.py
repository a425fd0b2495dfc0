"""`snnconv verify`: is the artifact the network that was trained?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv_cli import options as o

Candidates = Annotated[list[Path], typer.Argument(metavar="CANDIDATE...", help="Artifacts: .pt2, .onnx, .ts.")]


def verify(
    source: o.SourceFile,
    candidates: Candidates,
    arch: o.Arch = None,
    timesteps: o.Timesteps = None,
    input: o.Input = None,
    input_shape: o.InputShape = None,
    readout: o.Readout = None,
    leak: o.Leak = None,
    threshold: o.Threshold = None,
    strict: o.Strict = None,
    config: o.Config = None,
    data: o.DataFile = None,
    seed: o.Seed = 0,
    agreement: o.Agreement = 0.99,
    report: o.Report = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Verify artifacts against their source. Exits 0 if all are equivalent, 1 if one is not."""
    from snnconv.convert import check_reports
    from snnconv.runtimes import open_candidate
    from snnconv.verify import Policy
    from snnconv.verify import verify as run

    check_reports(report or [])
    opened = [open_candidate(path) for path in candidates]
    loaded = o.load(source, arch, timesteps, input, input_shape, readout, leak, threshold, strict, config)
    samples = o.read_data(data, loaded, seed)
    from snnconv_cli import progress, render

    results = []
    with progress.stages(len(opened)) as begin:
        for path, candidate in zip(candidates, opened, strict=True):
            results.append(run(loaded, candidate, samples, (str(source), str(path)), Policy(agreement), begin(path.name)))
    return render.finish_verifications(results, report or [], json)
