"""`snnconv report`: saved results, judged again under a policy, rendered, or put together from shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli import options as o

Results = Annotated[list[Path], typer.Argument(metavar="FILE", help="Results of verify or convert: .json.")]


def report(
    files: Results,
    policy: o.PolicySettings = None,
    config: o.Config = None,
    report: o.Report = None,
    format: o.Format = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Judge saved results again, without running anything. Exits as verify does."""
    return _report(files, False, policy, config, report, o.output_format(format, json))


def merge(
    files: Results,
    policy: o.PolicySettings = None,
    config: o.Config = None,
    report: o.Report = None,
    format: o.Format = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Put the results of `verify --shard` together and judge them as one run."""
    return _report(files, True, policy, config, report, o.output_format(format, json))


def schema() -> int:
    """Print the JSON Schema of saved results."""
    from snnconv.cli import render
    from snnconv.results.schema import published_schema

    render.print_json(published_schema())
    return 0


def _report(
    files: list[Path], merging: bool, policy: list[str] | None, config: Path | None, reports: list[Path] | None, printed: str
) -> int:
    from snnconv.cli import render
    from snnconv.errors import InputError
    from snnconv.report import check_reports
    from snnconv.results.reading import read_results
    from snnconv.results.shards import merge as merge_shards
    from snnconv.results.verdict import judge

    demanded = o.policy(policy, config)
    check_reports(reports or [])
    found = [verification for path in files for verification in read_results(path)]
    if not found:
        raise InputError(f"{', '.join(map(str, files))}: no results in there", "name what verify --report FILE.json wrote")
    verdicts = [judge(verification, demanded) for verification in (merge_shards(found) if merging else found)]
    return render.finish_verifications(verdicts, reports or [], printed)
