"""What a conversion or a verification starts from, as plain data: a command line, a test and another machine all make one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from snnconv.data import Preview, Samples, preview
from snnconv.engines import check_engine
from snnconv.results.verdict import Policy
from snnconv.sources import Source, SourceOptions, load_source
from snnconv.verify import Plan

Begin = Callable[[str], Callable[[str, float], None]]
"""`begin(name)` starts a stage of a progress display and returns its update function `update(part, share)`."""


def unseen(name: str) -> Callable[[str, float], None]:
    """A progress display that shows nothing."""
    return lambda part, share: None


@dataclass(frozen=True)
class Target:
    """An artifact to make: its path, its format (None: from the suffix), "sequence" or "step", its batch (None: any)."""

    path: Path
    format: str | None = None
    form: str = "sequence"
    batch: int | None = None


@dataclass(frozen=True)
class Loaded:
    """The source and the samples that a request names, read; `name` is how results call the source."""

    source: Source
    samples: Samples
    name: str


@dataclass(frozen=True)
class Request:
    """One run. It is frozen and can be pickled; nothing is read before `load`.

    Attributes:
        source: a checkpoint or a `.pt2`.
        options: what the file does not say; what they leave open follows from the data.
        data, labels: as `--data` and `--labels`; noise of the plan's seed if there are no data.
        plan: what to verify.
        policy: what the verdict demands.
        targets: artifacts to make.
        candidates: artifacts to verify.
        engine: the name of the engine that is to run them; by default the first that knows their format.
        resume: a file that keeps the progress of a verification.

    Raises `InputError` for an unknown engine.
    """

    source: Path
    options: SourceOptions = field(default_factory=SourceOptions)
    data: str | None = None
    labels: Path | None = None
    plan: Plan = field(default_factory=Plan)
    policy: Policy = field(default_factory=Policy)
    targets: tuple[Target, ...] = ()
    candidates: tuple[Path, ...] = ()
    engine: str | None = None
    resume: Path | None = None

    def __post_init__(self) -> None:
        check_engine(self.engine)

    def load(self) -> Loaded:
        """Read the source and open the samples. Raises what `load_source` and `snnconv.data.preview` do."""
        seen = self.preview()
        source = self.load_source(seen)
        return Loaded(source, seen.open(source.program.contract), str(self.source))

    def preview(self) -> Preview:
        """What can be seen of the data before the source is loaded. Raises `InputError`."""
        return preview(self.data, self.labels, self.plan.seed)

    def load_source(self, seen: Preview) -> Source:
        """The source; what its options leave open follows from the data that were `seen`. Raises what `load_source` does."""
        return load_source(self.source, replace(self.options, samples=seen.shapes))
