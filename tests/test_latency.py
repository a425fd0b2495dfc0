"""Timing: which calls count, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from snnconv.latency import Latency, measure


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], None]]:
    """Makes a call that lasts so many seconds each time, by a clock of its own."""

    def make(*seconds: float) -> Callable[[], None]:
        now, left = 0.0, iter(seconds)

        def call() -> None:
            nonlocal now
            now += next(left)

        monkeypatch.setattr("time.perf_counter", lambda: now)
        return call

    return make


def test_calls_to_warm_up_do_not_count(lasting: Callable[..., Callable[[], None]]) -> None:
    assert measure(lasting(9, 8, 3), runs=1, warm_up=2) == Latency(3000, 3000)


def test_the_middle_and_the_quickest_run_are_told_in_milliseconds(lasting: Callable[..., Callable[[], None]]) -> None:
    assert measure(lasting(5, 1, 2), runs=3, warm_up=0) == Latency(2000, 1000)


def test_every_call_is_given_the_same() -> None:
    seen: list[tuple[object, ...]] = []
    measure(lambda *given: seen.append(given), "x", 1, runs=2, warm_up=1)
    assert seen == [("x", 1)] * 3


def test_one_run_is_the_least() -> None:
    with pytest.raises(ValueError, match="0 runs"):
        measure(lambda: None, runs=0)


def test_an_error_of_the_call_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)
