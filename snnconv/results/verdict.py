"""The verdict on what verifying found: fixed rules, and a policy for what is a matter of taste. Judging again runs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from snnconv.errors import InputError
from snnconv.hints import meant
from snnconv.results.verification import (
    LEVELS,
    NOT_CHECKED,
    UNPROVEN,
    Check,
    LayerTally,
    Task,
    Verification,
    is_output,
    output_layer,
)


@dataclass(frozen=True)
class Policy:
    """What the verdict demands beyond the fixed rules; None demands nothing.

    Args:
        agreement: least share of samples on which both decide alike, or differ only behind explained flips.
        explained_flips: largest share of spikes that rounding may have flipped.
        accuracy_drop: largest loss of accuracy, as a share of the labelled samples.
        logit_error: largest difference of two logits.
        explained_decisions: largest share of samples on which they differ behind explained flips alone; a single such sample
            is within every limit but 0, since a small number of samples cannot show a smaller share.
    """

    agreement: float = 0.99
    explained_flips: float | None = None
    accuracy_drop: float | None = None
    logit_error: float | None = None
    explained_decisions: float | None = 0.25

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            share = name != "logit_error"
            if value is not None and not (0 <= value <= (1 if share else math.inf)):
                raise InputError(
                    f"policy {_key(name)} is {value}", "it is a share from 0 to 1" if share else "it is not negative"
                )


def policy_from(settings: Mapping[str, Any], base: Policy | None = None, where: str = "policy") -> Policy:
    """A policy from settings by their names (`explained-flips = 0`). Raises `InputError` for an unknown name or a wrong value."""
    known = {_key(f.name): f.name for f in fields(Policy)}
    values = {}
    for key, value in settings.items():
        name = known.get(key.replace("_", "-"))
        if name is None:
            raise InputError(f"{where}: unknown setting '{key}'", f"{meant(key, known)}known are {', '.join(sorted(known))}")
        try:
            if isinstance(value, bool):
                raise TypeError
            values[name] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where}: {key} is {value!r}", "it is a number") from error
    try:
        return replace(base or Policy(), **values)
    except InputError as error:
        raise InputError(f"{where}: {error.what.removeprefix('policy ')}", error.todo) from error


@dataclass(frozen=True)
class Verdict:
    """What a policy makes of a verification: every check, passed or not."""

    verification: Verification
    policy: Policy
    checks: tuple[Check, ...]

    @property
    def equivalent(self) -> bool:
        """Whether something was checked, nothing failed and nothing is unproven. Only a `complete` verdict says that the artifact
        is its source."""
        return not (self.faults or self.unproven or self._nothing_checked)

    @property
    def complete(self) -> bool:
        """Whether every level ran in full, on all of the data."""
        found = self.verification
        return set(LEVELS) <= set(found.levels) and found.shard is None and not self.unchecked

    @property
    def faults(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.failed)

    @property
    def unproven(self) -> tuple[Check, ...]:
        """The checks that showed neither that the artifact is right nor that it is wrong."""
        return tuple(check for check in self.checks if check.open == UNPROVEN)

    @property
    def unchecked(self) -> tuple[Check, ...]:
        """What the engine or the source cannot do."""
        return tuple(check for check in self.checks if check.open == NOT_CHECKED)

    @property
    def checked_levels(self) -> tuple[str, ...]:
        """The levels that ran and on which everything that could be checked passed, in order."""
        passed = {check.level for check in self.checks if check.passed}
        wrong = {check.level for check in (*self.faults, *self.unproven)}
        return tuple(level for level in self.verification.levels if level in passed - wrong)

    @property
    def word(self) -> str:
        """EQUIVALENT or NOT EQUIVALENT; UNPROVEN, NO FAULT FOUND or NOT CHECKED, and in what, if neither was shown.

        Norms that stay in the artifact are named.
        """
        if self.faults:
            return "NOT EQUIVALENT"
        if self.unproven:
            return f"UNPROVEN: {self._spoken('no fault found', self.unproven[-1].detail)}"
        if self._nothing_checked:
            return f"NOT CHECKED: {self.unchecked[0].detail}"
        return ("EQUIVALENT" if self.complete else self._spoken("NO FAULT FOUND")) + self.kept

    @property
    def kept(self) -> str:
        """Which kinds of norms stay in the artifact, to be said behind a verdict; empty if none does."""
        kept = self.verification.settings.get("keep_norm", "").partition(" (")[0]
        return f", norms kept: {kept}" if kept else ""

    @property
    def _nothing_checked(self) -> bool:
        return bool(self.unchecked) and not self.checked_levels

    def _spoken(self, word: str, reason: str = "") -> str:
        """`word`, the levels in which it holds, those that did not speak in full, and a reason."""
        found = self.verification
        parts = [f"shard {found.shard[0]}/{found.shard[1]}"] if found.shard else []
        spoke = self.checked_levels if self.unproven or self.unchecked else found.levels
        missing = [level for level in LEVELS if level not in found.levels]
        missing += [_unchecked(check) for check in self.unchecked]
        apart = [f"{', '.join(dict.fromkeys(missing))} not checked"] * bool(missing) + [reason] * bool(reason)
        if apart:
            parts.append(f"{', '.join(spoke) or 'nothing'} ({'; '.join(apart)})")
        return f"{word} in {', '.join(parts)}"


def judge(found: Verification, policy: Policy | None = None) -> Verdict:
    """Judge `found` under `policy`."""
    policy = policy or Policy()
    checks = list(found.checks)
    for probe in found.probes:
        checks += [_layer(tally, probe.name) for tally in probe.layers]
    checks += [_layer(tally) for tally in found.layers]
    if found.layers and policy.explained_flips is not None:
        checks.append(_explained(found.layers, policy.explained_flips))
    labelled = any(task.labelled for task in found.tasks.values())
    for name, task in found.tasks.items():
        # Labels go with one output alone.
        limits = replace(policy, accuracy_drop=None) if labelled and not task.labelled else policy
        checks += (replace(check, layer=_of_output(name, check.layer)) for check in _task(task, limits))
    return Verdict(found, policy, tuple(checks))


def _of_output(name: str, about: str) -> str:
    """What a check of a task is about: the whole, or something of it; of several outputs, with the output that it is of."""
    return ", ".join(filter(None, (output_layer(name), about))) if name else about


def _unchecked(check: Check) -> str:
    """What was not checked: a level, or the probes of one."""
    return f"{check.level} {check.probe} probes" if check.probe else check.level


def _layer(tally: LayerTally, probe: str = "") -> Check:
    where = f" on {probe} probes" if probe else ""
    faults = [
        f"{count} {word}"
        for count, word in (
            (tally.outside, f"values outside their {'measured ' if tally.measured else ''}rounding bound"),
            (tally.inconsistent, "spikes against the layer's own threshold"),
            (tally.unexplained, "unexplained flips"),
        )
        if count
    ]
    if faults:
        first = f", first at sample {tally.first[0]}, step {tally.first[1]}" if tally.first else ""
        return Check("deployment", tally.name, False, ", ".join(faults) + where + first, probe)
    worst = "no number" if tally.worst is None else f"{tally.worst:.1%}"
    fine = f"worst error {worst} of its {'measured bound' if tally.measured else 'bound'}{where}"
    if not is_output(tally.name):
        fine = f"{tally.values:,} values, {tally.explained} explained flips, {fine}"
    return Check("deployment", tally.name, True, fine, probe)


def _explained(layers: tuple[LayerTally, ...], allowed: float) -> Check:
    flips, values = sum(t.explained for t in layers), sum(t.values for t in layers if not is_output(t.name))
    share = flips / max(values, 1)
    return Check("deployment", "", share <= allowed, f"{flips} of {values} spikes flipped by rounding ({share:.1e})")


def _task(task: Task, policy: Policy) -> list[Check]:
    checks = [_decisions(task, policy)]
    if task.explained and policy.explained_decisions is not None:
        checks.append(_explained_decisions(task, policy.explained_decisions))
    if task.bare:
        checks.append(_unwatched(task, policy))
    return checks


def _decisions(task: Task, policy: Policy) -> Check:
    """Whether decisions, accuracy and logits are within the policy."""
    exceeded = list(_exceeded(task, policy))
    agrees = _reach(task.agreeing + task.explained, policy.agreement, task.samples) and task.logit_error is not None
    said = ": ".join([_agreement(task), *exceeded])
    if task.agreeing < task.samples and _too_few(task.samples, policy.agreement):
        said += f"; {task.samples} samples are too few to judge an agreement of {policy.agreement:.2%}"
    return Check("task", "", agrees and not exceeded, said)


def _agreement(task: Task) -> str:
    error = "not a number" if task.logit_error is None else f"{task.logit_error:.2g}"
    apart = f", differs on {task.explained} behind explained flips alone" if task.explained else ""
    said = f"argmax agrees on {task.agreement:.2%} of {task.samples} samples{apart}, logit error {error}"
    if task.accuracy_reference is not None and task.accuracy_candidate is not None:
        said += f", accuracy {task.accuracy_reference:.2%} before and {task.accuracy_candidate:.2%} after"
    return said


def _exceeded(task: Task, policy: Policy) -> Iterator[str]:
    """The limits on accuracy and logits that are not kept, in words."""
    if policy.accuracy_drop is not None:
        if task.accuracy_reference is None or task.accuracy_candidate is None:
            yield "the policy limits the drop of accuracy, but the data has no labels"
        elif not _reach(task.labelled - task.right_reference + task.right_candidate, 1 - policy.accuracy_drop, task.labelled):
            drop = task.accuracy_reference - task.accuracy_candidate
            yield f"it drops by {drop:.2%}, more than {policy.accuracy_drop:.2%}"
    if policy.logit_error is not None and (task.logit_error is None or task.logit_error > policy.logit_error):
        yield f"the policy allows a logit error of {policy.logit_error:g}"


def _explained_decisions(task: Task, limit: float) -> Check:
    share = task.explained / max(task.samples, 1)
    said = f"{task.explained} of {task.samples} decisions ({share:.2%}) differ behind explained flips alone"
    within = _reach(task.samples - task.explained, 1 - limit, task.samples) or (task.explained == 1 and limit > 0)
    if not within:
        said += f", more than the {limit:.2%} of the policy: these decisions hang on the last bits of a sum"
    return Check("task", "explained decisions", within, said)


def _unwatched(task: Task, policy: Policy) -> Check:
    alike, unlike = task.bare_agreeing / task.bare, task.bare_unlike / task.bare
    counts = (task.bare_agreeing + task.bare_explained, task.bare - task.bare_unlike)
    sound = all(_reach(count, policy.agreement, task.bare) for count in counts)
    apart = f", differs on {task.bare_explained} behind explained flips alone" if task.bare_explained else ""
    said = f"unwatched on {task.bare} samples: argmax agrees on {alike:.2%}{apart}, logits as watched on {1 - unlike:.2%}"
    return Check("task", "unwatched run", sound, said)


def _too_few(samples: int, agreement: float) -> bool:
    """Whether a single sample is more than the share on which decisions may differ, if any may."""
    return agreement < 1 and samples * (1 - agreement) < 1 - 1e-6


def _reach(count: int, share: float, of: int) -> bool:
    """Whether `count` is at least that share of a number: in counts, so that a share as it is written means what it says."""
    return count >= share * of - 1e-6


def _key(name: str) -> str:
    return name.replace("_", "-")
