"""`snnconv report judge`: saved results, judged again under a policy and rendered."""

from __future__ import annotations

from snnconv.cli.command import command
from snnconv.cli.options import PolicyArguments, PrintArguments
from snnconv.cli.saved import SavedResults


@command
def judge(saved: SavedResults, policy: PolicyArguments, results: PrintArguments) -> int:
    """Judge saved results again, without running anything. Exits as verify does."""
    from snnconv.cli import render
    from snnconv.results.verdict import judge as judged

    demanded = policy.read()
    results.check()
    verdicts = [judged(verification, demanded) for verification in saved.read()]
    return render.finish_verifications(verdicts, results.files, results.printed)
