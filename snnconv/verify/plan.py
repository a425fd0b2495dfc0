"""What a verification checks: which levels, which part of the data, with which seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from snnconv.errors import InputError
from snnconv.results import LEVELS

TASK_ALONE = ("task",)
"""The levels of a file that snnconv did not write."""


@dataclass(frozen=True)
class Plan:
    """What to check.

    Attributes:
        levels: some of proof, algebra, deployment, task.
        shard: `(i, n)` reads every n-th chunk of the data only, from the i-th; None reads all of it.
        seed: of the probes.
        run_foreign_code: also run a TorchScript file whose code is not snnconv's. A program may do anything.

    Raises `InputError` for an unknown level or a shard that does not exist.
    """

    levels: tuple[str, ...] = LEVELS
    shard: tuple[int, int] | None = None
    seed: int = 0
    run_foreign_code: bool = False

    def __post_init__(self) -> None:
        unknown = [level for level in self.levels if level not in LEVELS]
        if unknown or not self.levels:
            raise InputError(f"unknown level '{', '.join(unknown)}'", f"levels are {', '.join(LEVELS)}")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise InputError(f"shard {self.shard[0]}/{self.shard[1]} does not exist", "shards are 1/n to n/n")

    def of(self, foreign: bool) -> Plan:
        """This plan for an artifact or, if it is `foreign`, what is possible with a file that snnconv did not write."""
        return replace(self, levels=TASK_ALONE) if foreign else self

    def wants(self, chunk: int) -> bool:
        """Whether this run reads chunk number `chunk`."""
        return self.shard is None or chunk % self.shard[1] == self.shard[0] - 1

    @property
    def leads(self) -> bool:
        """Whether this run checks what does not depend on the data: the whole run and the first shard do."""
        return self.shard is None or self.shard[0] == 1
