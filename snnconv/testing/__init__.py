"""For those who would rather write a test: `assert_equivalent`, and a pytest fixture of that name (`snnconv.testing.plugin`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnconv.data import Samples
    from snnconv.request import Loaded, Request
    from snnconv.results.verdict import Policy, Verdict
    from snnconv.sources import Source, SourceOptions

__all__ = ["NotEquivalent", "assert_equivalent"]


class NotEquivalent(AssertionError):
    """An artifact is not the network that was trained. `verdict` holds everything that was found."""

    def __init__(self, verdict: Verdict) -> None:
        found = verdict.verification
        lines = [
            f"{check.level} {check.layer or 'whole network'}: {check.detail}" for check in (*verdict.faults, *verdict.unproven)
        ]
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
    engine: str | None = None,
    **options: Any,
) -> Verdict:
    """Verify `candidate` against `source` as `snnconv verify` does, and give back the verdict.

    What is left open comes from `config`, or from `[tool.snnconv]` in ./pyproject.toml if it is None, or from the data.

    Args:
        source: a checkpoint, a `.pt2`, or a source that is loaded already.
        data: what `snnconv verify --data` takes, or samples in memory (`snnconv.data.Data`); None for seeded noise.
        policy: what the verdict demands: a `Policy`, or some of it by the names of `--policy` (`{"explained-flips": 0}`).
        levels: some of proof, algebra, deployment, task; None for all. An ONNX file that snnconv did not write takes
            `("task",)` alone.
        labels, shard, config: as the options of `snnconv verify`.
        run_foreign_code: also run a TorchScript file of which the code is not snnconv's. A program may do anything.
        engine: the name of the engine that is to run the candidate; by default the first that knows its format.
        options: those of `snnconv.sources.SourceOptions`, such as `arch` and `timesteps`.

    Raises `NotEquivalent` if anything fails, and the errors of `snnconv.errors` for what cannot be read.
    """
    from snnconv.errors import InputError
    from snnconv.files import shown
    from snnconv.request import Request
    from snnconv.results import LEVELS
    from snnconv.results.shards import parse_shard
    from snnconv.verification import open_candidates, verify_candidates
    from snnconv.verify import Plan
    from snnconv.verify.plan import TASK_ALONE

    settings = None if config is None else Path(config)
    path, given = _named(source, options, settings)
    plan = Plan(levels or LEVELS, None if shard is None else parse_shard(shard), seed, run_foreign_code)
    place = str(data) if isinstance(data, str | Path) else None
    files = (place, None if labels is None else Path(labels))
    request = Request(path, given, *files, plan, _policy(policy, settings), candidates=(Path(candidate),), engine=engine)
    opened = open_candidates(request)
    if opened[0][1].foreign and plan.levels != TASK_ALONE:
        raise InputError(f"{candidate}: carries no snnconv metadata", 'only levels=("task",) is possible')
    loaded = _loaded(request, source, data, shown(path))
    ((verdict,), _) = verify_candidates(request, loaded, opened)
    if not verdict.equivalent:
        raise NotEquivalent(verdict)
    return verdict


def _named(source: Source | Path | str, options: dict[str, Any], settings: Path | None) -> tuple[Path, SourceOptions]:
    """Where a source is and what was said of it; one in memory goes by its architecture."""
    from snnconv.sources import Source, SourceOptions, configure

    if not isinstance(source, Source):
        return Path(source), configure(SourceOptions(**options), settings)
    if options:
        raise TypeError(f"{', '.join(options)}: a source that is loaded has its settings already")
    return Path(source.program.origin.arch), SourceOptions()


def _policy(given: Policy | Mapping[str, float] | None, settings: Path | None) -> Policy:
    from snnconv.config import read_policy
    from snnconv.results.verdict import Policy, policy_from

    return given if isinstance(given, Policy) else policy_from(given or {}, read_policy([], settings))


def _loaded(request: Request, source: Source | Path | str, data: Samples | Path | str | None, name: str) -> Loaded:
    """What the request names, but for a source or samples that are in memory."""
    from snnconv.data import Preview, first
    from snnconv.errors import InputError
    from snnconv.request import Loaded
    from snnconv.sources import Source

    if request.labels is not None and request.data is None:
        raise InputError(f"{request.labels}: labels go with the samples of a file", "give the file as data")
    if data is None or isinstance(data, str | Path):
        seen = request.preview()
    else:
        samples = data
        seen = Preview((tuple(first(samples, 1).shape[1:]),), lambda contract: samples)
    read = source if isinstance(source, Source) else request.load_source(seen)
    return Loaded(read, seen.open(read.program.contract), name)
