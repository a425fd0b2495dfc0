"""For those who would rather write a test: `assert_equivalent`, and a pytest fixture of that name (`snnconv.testing.plugin`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnconv.data import Samples
    from snnconv.sources import Source
    from snnconv.verdict import Policy, Verdict

__all__ = ["NotEquivalent", "assert_equivalent"]


class NotEquivalent(AssertionError):
    """An artifact is not the network that was trained. `verdict` holds everything that was found."""

    def __init__(self, verdict: Verdict) -> None:
        found = verdict.verification
        lines = [f"{check.level} {check.layer or 'whole network'}: {check.detail}" for check in verdict.faults]
        super().__init__("\n  ".join([f"{found.candidate} is not equivalent to {found.source}", *lines]))
        self.verdict = verdict


def assert_equivalent(
    source: Source | Path | str,
    candidate: Path | str,
    data: Samples | Path | str | None = None,
    *,
    policy: Policy | Mapping[str, float] | None = None,
    levels: tuple[str, ...] | None = None,
    seed: int = 0,
    run_foreign_code: bool = False,
    **options: Any,
) -> Verdict:
    """Verify `candidate` against `source` and give back the verdict.

    Args:
        source: a checkpoint, a `.pt2`, or a source that is loaded already.
        data: what `snnconv verify --data` takes, or samples in memory (`snnconv.data.Data`); None for seeded noise.
        policy: what the verdict demands, as a `Policy` or by the names of `--policy` (`{"explained-flips": 0}`).
        levels: some of proof, algebra, deployment, task; None for all.
        run_foreign_code: also run a TorchScript file of which the code is not snnconv's. A program may do anything.
        options: those of `snnconv.sources.SourceOptions`, such as `arch` and `timesteps`.

    Raises `NotEquivalent` where anything fails, and the errors of `snnconv.errors` for what cannot be read.
    """
    from snnconv.data import open_data, synthetic
    from snnconv.files import shown
    from snnconv.runtimes import open_candidate
    from snnconv.sources import Source, SourceOptions, load_source
    from snnconv.verdict import LEVELS, Policy, judge, policy_from
    from snnconv.verify import Plan, verify

    if isinstance(source, Source) and options:
        raise TypeError(f"{', '.join(options)}: a source that is loaded has its settings already")
    demanded = policy if isinstance(policy, Policy) else policy_from(policy or {})
    artifact = Path(candidate)
    opened = open_candidate(artifact)
    name = source.program.origin.arch if isinstance(source, Source) else shown(Path(source))
    loaded = source if isinstance(source, Source) else load_source(Path(source), SourceOptions(**options))
    contract = loaded.program.contract
    samples: Samples
    if data is None:
        samples = synthetic(contract, seed)
    else:
        samples = open_data(str(data), contract) if isinstance(data, str | Path) else data
    plan = Plan(levels or LEVELS, seed=seed, run_foreign_code=run_foreign_code)
    found = verify(loaded, opened, samples, (name, shown(artifact)), plan)
    verdict = judge(found, demanded)
    if not verdict.equivalent:
        raise NotEquivalent(verdict)
    return verdict
