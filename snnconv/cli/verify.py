"""`snnconv verify`: is the artifact the network that was trained?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli.command import command
from snnconv.cli.options import (
    CHECKPOINTS,
    FORMATS,
    SUFFIXES,
    DataArguments,
    EngineName,
    PolicyArguments,
    PrintArguments,
    SourceArguments,
    load,
)
from snnconv.errors import InputError
from snnconv.hints import meant
from snnconv.results import LEVELS

ALL = ",".join(LEVELS)

Candidates = Annotated[list[Path], typer.Argument(metavar="CANDIDATE", help=f"Artifacts: .pt2, {SUFFIXES}.")]
Level = Annotated[str | None, typer.Option(metavar="LEVEL,...", help="Levels to check.", show_default=ALL)]
ShardOf = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Read only every N-th chunk of the data, from the I-th.")
]
RunForeignCode = Annotated[
    bool, typer.Option("--run-foreign-code", help="Also run a .ts whose code is not snnconv's: a program may do anything.")
]
Resume = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep progress in FILE; if it holds some of this run, continue from there.")
]


@command
def verify(
    source: SourceArguments,
    candidates: Candidates,
    data: DataArguments,
    policy: PolicyArguments,
    results: PrintArguments,
    level: Level = None,
    shard: ShardOf = None,
    resume: Resume = None,
    run_foreign_code: RunForeignCode = False,
    engine: EngineName = None,
) -> int:
    """Verify artifacts against their source. Exits 0 if all are equivalent, 1 if one is not."""
    levels = LEVELS if level is None else _levels(level)
    from snnconv.cli import progress, render
    from snnconv.request import Request
    from snnconv.results.shards import parse_shard
    from snnconv.verification import open_candidates, verify_candidates
    from snnconv.verify import Plan

    plan = Plan(levels, parse_shard(shard) if shard else None, data.seed, run_foreign_code)
    given = (data.data, data.labels, plan, policy.read())
    results.check()
    if resume is not None and resume.resolve() in [path.resolve() for path in results.files]:
        raise InputError(f"--resume and --report both name {resume}", "give each its own file")
    _check_order(source.path, candidates)
    request = Request(source.path, source.options(), *given, candidates=tuple(candidates), engine=engine, resume=resume)
    opened = open_candidates(request)
    _check_foreign([path for path, artifact in opened if artifact.foreign], None if level is None else levels)
    loaded = load(request)
    with progress.stages(len(candidates)) as begin:
        verdicts, journal = verify_candidates(request, loaded, opened, begin)
    code = render.finish_verifications(verdicts, results.files, results.printed)
    if journal is not None:
        journal.discard()
    return code


def _levels(text: str) -> tuple[str, ...]:
    """`proof,task` as the levels of these names, in the order in which they run. Raises `InputError` for an unknown one."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in LEVELS:
            raise InputError(f"--level '{name}' is unknown", f"{meant(name, LEVELS)}levels are {', '.join(LEVELS)}")
    return tuple(name for name in LEVELS if name in names)


def _check_order(source: Path, candidates: list[Path]) -> None:
    """Raise `InputError` if the suffixes tell that source and candidate have changed places."""
    artifacts = (".pt2", *(suffix for suffixes in FORMATS.values() for suffix in suffixes))
    wrong = next((path for path in candidates if path.suffix in CHECKPOINTS), None)
    if wrong is not None and source.suffix in artifacts:
        raise InputError(f"{wrong}: a checkpoint, no candidate", f"the source comes first: snnconv verify {wrong} {source}")


def _check_foreign(files: list[Path], levels: tuple[str, ...] | None) -> None:
    """Say on stderr that of files that snnconv did not write the task alone is verified; `levels` are those that were asked for.

    Raises `InputError` if more was asked for.
    """
    for file in files:
        if levels not in (None, ("task",)):
            raise InputError(f"{file}: carries no snnconv metadata", "only --level task is possible")
        typer.echo(f"note: {file}: carries no snnconv metadata; verified as with --level task", err=True)
