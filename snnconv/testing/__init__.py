"""For those who would rather write a test: `assert_equivalent`, and a pytest fixture of that name (`snnconv.testing.plugin`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnconv.data import Preview, Samples
    from snnconv.results.verdict import Policy, Verdict
    from snnconv.sources import Source

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
    labels: Path | str | None = None,
    shard: str | None = None,
    config: Path | str | None = None,
    run_foreign_code: bool = False,
    **options: Any,
) -> Verdict:
    """Verify `candidate` against `source` as `snnconv verify` does, and give back the verdict.

    What is left open comes from `config`, or from `[tool.snnconv]` in ./pyproject.toml if it is None, or from the data.

    Args:
        source: a checkpoint, a `.pt2`, or a source that is loaded already.
        data: what `snnconv verify --data` takes, or samples in memory (`snnconv.data.Data`); None for seeded noise.
        policy: what the verdict demands: a `Policy`, or some of it by the names of `--policy` (`{"explained-flips": 0}`).
        levels: some of proof, algebra, deployment, task; None for all.
        labels, shard, config: as the options of `snnconv verify`.
        run_foreign_code: also run a TorchScript file of which the code is not snnconv's. A program may do anything.
        options: those of `snnconv.sources.SourceOptions`, such as `arch` and `timesteps`.

    Raises `NotEquivalent` if anything fails, and the errors of `snnconv.errors` for what cannot be read.
    """
    from snnconv.config import read_policy
    from snnconv.engines import open_candidate
    from snnconv.files import shown
    from snnconv.results import LEVELS
    from snnconv.results.shards import parse_shard
    from snnconv.results.verdict import Policy, judge, policy_from
    from snnconv.sources import Source
    from snnconv.verify import Plan, Reference, verify

    if isinstance(source, Source) and options:
        raise TypeError(f"{', '.join(options)}: a source that is loaded has its settings already")
    settings = None if config is None else Path(config)
    demanded = policy if isinstance(policy, Policy) else policy_from(policy or {}, read_policy([], settings))
    plan = Plan(levels or LEVELS, None if shard is None else parse_shard(shard), seed, run_foreign_code)
    artifact = Path(candidate)
    opened = open_candidate(artifact)
    seen = _preview(data, labels, seed)
    name, loaded = (
        (source.program.origin.arch, source) if isinstance(source, Source) else _loaded(source, options, seen, settings)
    )
    verdict = judge(
        verify(Reference(loaded), opened, seen.open(loaded.program.contract), (name, shown(artifact)), plan), demanded
    )
    if not verdict.equivalent:
        raise NotEquivalent(verdict)
    return verdict


def _loaded(source: Path | str, options: dict[str, Any], seen: Preview, settings: Path | None) -> tuple[str, Source]:
    from snnconv.files import shown
    from snnconv.sources import SourceOptions, configure, load_source

    path, given = Path(source), SourceOptions(**options, samples=seen.shapes)
    return shown(path), load_source(path, configure(given, settings))


def _preview(data: Samples | Path | str | None, labels: Path | str | None, seed: int) -> Preview:
    from snnconv.data import Preview, first, preview, synthetic
    from snnconv.errors import InputError

    if isinstance(data, str | Path):
        return preview(str(data), None if labels is None else Path(labels))
    if labels is not None:
        raise InputError(f"{labels}: labels go with the samples of a file", "give the file as data")
    if data is None:
        return Preview((), lambda contract: synthetic(contract, seed))
    return Preview((tuple(first(data, 1).shape[1:]),), lambda contract: data)
