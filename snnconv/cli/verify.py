"""`snnconv verify`: is the artifact the network that was trained?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli import options as o
from snnconv.errors import InputError
from snnconv.hints import meant
from snnconv.results import LEVELS

ALL = ",".join(LEVELS)
CHECKPOINTS, ARTIFACTS = (".pth", ".pt", ".safetensors"), (".pt2", ".onnx", ".ts", ".torchscript")
Candidates = Annotated[list[Path], typer.Argument(metavar="CANDIDATE", help="Artifacts: .pt2, .onnx, .ts.")]

Level = Annotated[str, typer.Option(metavar="LEVEL,...", help="Levels to check.")]
ShardOf = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Read only every N-th chunk of the data, from the I-th.")
]
RunForeignCode = Annotated[
    bool, typer.Option("--run-foreign-code", help="Also run a .ts of which the code is not snnconv's: a program may do anything.")
]
Resume = Annotated[Path | None, typer.Option(metavar="FILE", help="Keep progress in FILE, and go on from it where it is there.")]


@o.reads_source
def verify(
    source: o.SourceArguments,
    candidates: Candidates,
    data: o.DataPlace = None,
    labels: o.Labels = None,
    level: Level = ALL,
    seed: o.Seed = 0,
    policy: o.PolicySettings = None,
    shard: ShardOf = None,
    resume: Resume = None,
    run_foreign_code: RunForeignCode = False,
    report: o.Report = None,
    format: o.Format = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Verify artifacts against their source. Exits 0 if all are equivalent, 1 if one is not."""
    printed = o.output_format(format, json)
    from snnconv.engines import open_candidate
    from snnconv.report import check_reports
    from snnconv.results.shards import parse_shard
    from snnconv.results.verdict import judge
    from snnconv.verify import Plan, Reference
    from snnconv.verify.several import verify_all

    wanted = _names(level)
    levels = tuple(name for name in LEVELS if name in wanted)
    plan = Plan(levels, parse_shard(shard) if shard else None, seed, run_foreign_code)
    demanded = o.policy(policy, source.config)
    check_reports(report or [])
    if resume is not None and resume.resolve() in [path.resolve() for path in report or []]:
        raise InputError(f"--resume and --report both name {resume}", "give each its own file")
    _check_order(source.path, candidates)
    opened = [(path, open_candidate(path)) for path in candidates]
    seen = o.preview_data(data, labels)
    loaded = source.load(seen)
    samples = o.read_data(seen, loaded, seed)
    from snnconv.cli import progress, render

    with progress.stages(len(candidates)) as begin:
        found, journal = verify_all(Reference(loaded), source.path, opened, samples, plan, begin, resume)
    code = render.finish_verifications([judge(one, demanded) for one in found], report or [], printed)
    if journal is not None:
        journal.discard()
    return code


def _names(level: str) -> list[str]:
    names = [name.strip() for name in level.split(",")]
    for name in names:
        if name not in LEVELS:
            raise InputError(f"--level '{name}' is unknown", f"{meant(name, LEVELS)}levels are {', '.join(LEVELS)}")
    return names


def _check_order(source: Path, candidates: list[Path]) -> None:
    """Raise `InputError` if the suffixes tell that source and candidate have changed places."""
    wrong = next((path for path in candidates if path.suffix in CHECKPOINTS), None)
    if wrong is not None and source.suffix in ARTIFACTS:
        raise InputError(f"{wrong}: a checkpoint, no candidate", f"the source comes first: snnconv verify {wrong} {source}")
