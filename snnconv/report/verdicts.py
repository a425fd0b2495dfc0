"""Verdicts in words: how a check, a layer, a level, a candidate and a whole report came out, alike in every report.

Every renderer asks `check_state`, `layer_state` and `levels` for the state of a thing and shows it by the words and signs of that
state, so a further outcome is one more `State` and its place in `_RANKS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from snnconv.report.text import count, number, of_bound, percent
from snnconv.results import LEVELS, NOT_CHECKED, UNPROVEN, Check, LayerTally, Task, Verdict, Verification, is_output, output_layer


@dataclass(frozen=True)
class State:
    """How a check, a layer or a level came out.

    Attributes:
        word: in a sentence; with a hyphen for its space, the class of the style sheet.
        short: at the start of a line, in plain text.
        sign: before the word, in HTML.
    """

    word: str
    short: str
    sign: str


PASSED, NOT_RUN, FAILED = State("passed", "ok", "✓"), State("not run", "-", "◦"), State("failed", "FAIL", "✕")
OPEN = {NOT_CHECKED: State("not checked", "-", "◦"), UNPROVEN: State("unproven", "??", "◐")}
"""The states of checks that did not pass and are no faults."""
_RANKS = (NOT_RUN, PASSED, OPEN[NOT_CHECKED], OPEN[UNPROVEN], FAILED)
"""From good to bad: the state of several things is that of the worst."""


def check_state(check: Check) -> State:
    """How a check came out."""
    return PASSED if check.passed else OPEN.get(check.open, FAILED)


def place(check: Check) -> str:
    """What was checked: the level and, if it is a single one, the layer."""
    return f"{check.level} {check.layer}".rstrip()


def layer_state(tally: LayerTally) -> State:
    """How a layer came out on the data or on probes."""
    return PASSED if tally.sound else FAILED


def worst_error(tally: LayerTally) -> str:
    """The largest error of a potential, as a share of its bound, and whether that bound was measured."""
    return of_bound(tally.worst) + (", measured" if tally.measured else "")


@dataclass(frozen=True)
class Level:
    """One level of a verdict: its checks, how they came out together, and a few words on that."""

    name: str
    state: State
    said: str
    checks: tuple[Check, ...] = ()


def levels(verdict: Verdict) -> list[Level]:
    """The levels in order, those that did not run as well."""
    names = dict.fromkeys(("contract", *LEVELS, *(check.level for check in verdict.checks)))
    return [_level(name, tuple(check for check in verdict.checks if check.level == name), verdict) for name in names]


def _level(name: str, checks: tuple[Check, ...], verdict: Verdict) -> Level:
    if not checks:
        ran = name in verdict.verification.levels
        return Level(name, NOT_RUN, "nothing to check" if ran else "this level was left out")
    state = max(map(check_state, checks), key=_RANKS.index)
    # The first check of the task of an output counts what a reader wants to know; those after it only limit it.
    outputs = verdict.verification.outputs if name == "task" else {}
    firsts = [check for check in checks if check.layer in map(output_layer, outputs)] or checks[:1]
    said = "; ".join(map(_said, firsts)) if len(checks) == 1 or name == "task" else _counted(checks, state)
    return Level(name, state, said, checks)


def _said(check: Check) -> str:
    return f"{check.layer}: {check.detail}" if check.layer else check.detail


def _counted(checks: tuple[Check, ...], state: State) -> str:
    return f"{sum(check_state(check) == state for check in checks)} of {len(checks)} checks {state.word}"


@dataclass(frozen=True)
class Outcome:
    """How a candidate, or all candidates of a report, came out.

    Attributes:
        name: the class of the style sheet.
        heading: as a headline for several candidates; a single one has `Verdict.word`.
        phrase: in a sentence, behind a number.
        sign, emoji: before the headline, in HTML and in Markdown.
    """

    name: str
    heading: str
    phrase: str
    sign: str
    emoji: str


EQUIVALENT = Outcome("equivalent", "EQUIVALENT", "equivalent", "✓", "✅")
INCOMPLETE = Outcome("incomplete", "NO FAULT FOUND", "without a fault, but not checked in full", "◐", "⚠️")
UNDECIDED = Outcome("undecided", "UNPROVEN", "without a fault, but unproven", "◐", "⚠️")
FAULT = Outcome("fault", "NOT EQUIVALENT", "not equivalent", "✕", "❌")
_OUTCOMES = (EQUIVALENT, INCOMPLETE, UNDECIDED, FAULT)
"""From good to bad."""


def outcome(verdict: Verdict) -> Outcome:
    """`EQUIVALENT`, `INCOMPLETE` (no fault, but not everything was checked), `UNDECIDED` (no fault, but what was asked for was
    not shown) or `FAULT`."""
    if not verdict.equivalent:
        return FAULT if verdict.faults else UNDECIDED
    return EQUIVALENT if verdict.complete else INCOMPLETE


def worst_outcome(verdicts: Iterable[Verdict]) -> Outcome:
    """The outcome of all verdicts together; that of none is a fault."""
    return max(map(outcome, verdicts), key=_OUTCOMES.index, default=FAULT)


def headline(verdicts: tuple[Verdict, ...]) -> str:
    """The verdict of a whole report in words."""
    if len(verdicts) == 1:
        return verdicts[0].word
    worst = worst_outcome(verdicts)
    kept = next((verdict.kept for verdict in verdicts), "")
    return worst.heading + (kept if worst in (EQUIVALENT, INCOMPLETE) else "")


def summary(verdicts: tuple[Verdict, ...]) -> str:
    """One sentence for several candidates."""
    found = [outcome(verdict) for verdict in verdicts]
    parts = [f"{found.count(kind)} {kind.phrase}" for kind in _OUTCOMES if kind in found]
    return f"{len(found)} candidates: {', '.join(parts)}." if found else "Nothing was verified."


def sentence(verdict: Verdict) -> str:
    """What a verdict means, in one sentence."""
    if verdict.faults:
        return f"{len(verdict.faults)} of {len(verdict.checks)} checks failed."
    if not verdict.equivalent:
        return "Nothing failed, but what was asked for was not shown: the artifact may be its source, or not."
    if not verdict.complete:
        return "Nothing failed, but not everything was checked: this alone does not show that the artifact is its source."
    return f"All {len(verdict.checks)} checks passed: the artifact does what its source does."


def facts(found: Verification) -> list[tuple[str, str]]:
    """The numbers a reader looks for first, each with what it counts."""
    said = []
    neurons = [tally for tally in found.layers if not is_output(tally.name)]
    if neurons:
        spikes = sum(tally.values for tally in neurons)
        said.append((count(sum(t.unexplained for t in neurons)), f"unexplained flips of {count(spikes)} spikes"))
        said.append((count(sum(t.explained for t in neurons)), "flips explained by rounding"))
    for name, task in found.tasks.items():
        said += ((value, f"{what}{f' ({name})' if name else ''}") for value, what in _facts_of(task))
    return said


def _facts_of(task: Task) -> Iterator[tuple[str, str]]:
    yield percent(task.agreement), f"argmax agreement on {count(task.samples)} samples"
    if task.explained:
        yield count(task.explained), "decisions differ behind explained flips alone"
    before, after = task.accuracy_reference, task.accuracy_candidate
    if before is not None and after is not None:
        yield f"{percent(before)} → {percent(after)}", "accuracy, source → candidate"
    else:
        yield number(task.logit_error), "largest logit error"
