"""How long a network takes: the median of a few runs after warming up, timed alike wherever a latency is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

RUNS = 5
WARM_UP = 2


@dataclass(frozen=True)
class Latency:
    """Milliseconds that a call takes: the median of its runs, and the quickest of them."""

    median: float
    best: float


def measure(call: Callable[..., object], *given: object, runs: int = RUNS, warm_up: int = WARM_UP) -> Latency:
    """Time `runs` times `call(*given)`, after `warm_up` calls that do not count: the first ones allocate memory, choose kernels.

    Give all that is to be compared the same samples, as of `snnconv.data.batch`. Errors of the call are not caught. Raises
    `ValueError` for fewer than one run.
    """
    if runs < 1:
        raise ValueError(f"{runs} runs")
    for _ in range(warm_up):
        call(*given)
    times = [_milliseconds(call, given) for _ in range(runs)]
    return Latency(median(times), min(times))


def _milliseconds(call: Callable[..., object], given: tuple[object, ...]) -> float:
    start = time.perf_counter()
    call(*given)
    return (time.perf_counter() - start) * 1e3
