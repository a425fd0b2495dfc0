"""`snnconv report merge`: the results of shards, put together and judged as one run."""

from __future__ import annotations

from snnconv.cli.command import command
from snnconv.cli.options import PolicyArguments, PrintArguments
from snnconv.cli.saved import SavedResults


@command
def merge(saved: SavedResults, policy: PolicyArguments, results: PrintArguments) -> int:
    """Put the results of `verify --shard` together and judge them as one run."""
    from snnconv.cli import render
    from snnconv.results.shards import merge as merged
    from snnconv.results.verdict import judge

    demanded = policy.read()
    results.check()
    verdicts = [judge(verification, demanded) for verification in merged(saved.read())]
    return render.finish_verifications(verdicts, results.files, results.printed)
