"""How numbers and verdicts are put into words, alike in every format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import reduce

from snnconv.results import DEFAULT, LEVELS, OUTPUT, Check, LayerTally, Probe, Verification
from snnconv.results.verdict import Verdict

EQUIVALENT, INCOMPLETE, FAULT = "equivalent", "incomplete", "fault"
_RANKS = (EQUIVALENT, INCOMPLETE, FAULT)


def state(verdict: Verdict) -> str:
    """`equivalent`, `incomplete` (no fault, but not everything was checked) or `fault`."""
    if not verdict.equivalent:
        return FAULT
    return EQUIVALENT if verdict.complete else INCOMPLETE


def worst_state(verdicts: Iterable[Verdict]) -> str:
    """The state of all verdicts together."""
    return max((state(verdict) for verdict in verdicts), key=_RANKS.index, default=FAULT)


def overall(verdicts: tuple[Verdict, ...]) -> str:
    """The verdict of a whole report in words."""
    if len(verdicts) == 1:
        return verdicts[0].word
    return {EQUIVALENT: "EQUIVALENT", INCOMPLETE: "NO FAULT FOUND", FAULT: "NOT EQUIVALENT"}[worst_state(verdicts)]


def summary(verdicts: tuple[Verdict, ...]) -> str:
    """One sentence for several candidates."""
    states = [state(verdict) for verdict in verdicts]
    kinds = ((EQUIVALENT, "equivalent"), (INCOMPLETE, "without a fault, but not checked in full"), (FAULT, "not equivalent"))
    parts = [f"{states.count(kind)} {word}" for kind, word in kinds if kind in states]
    return f"{len(states)} candidates: {', '.join(parts)}." if states else "Nothing was verified."


def sentence(verdict: Verdict) -> str:
    """What a verdict means, in one sentence."""
    if not verdict.equivalent:
        return f"{len(verdict.faults)} of {len(verdict.checks)} checks failed."
    if not verdict.complete:
        return "Nothing failed, but not everything was checked: this alone does not show that the artifact is its source."
    return f"All {len(verdict.checks)} checks passed: the artifact does what its source does."


@dataclass(frozen=True)
class Level:
    """One level of a verdict: `passed`, `failed` or `not run`, and a few words."""

    name: str
    state: str
    said: str


def levels(verdict: Verdict) -> list[Level]:
    """The levels in order, those that did not run as well."""
    names = dict.fromkeys(("contract", *LEVELS, *(check.level for check in verdict.checks)))
    return [_level(name, [check for check in verdict.checks if check.level == name], verdict) for name in names]


def _level(name: str, checks: list[Check], verdict: Verdict) -> Level:
    failed = sum(not check.passed for check in checks)
    if not checks:
        ran = name in verdict.verification.levels
        return Level(name, "not run", "nothing to check" if ran else "this level was left out")
    if len(checks) == 1:
        return Level(name, "failed" if failed else "passed", checks[0].detail)
    said = f"{failed} of {len(checks)} checks failed" if failed else f"{len(checks)} of {len(checks)} checks passed"
    return Level(name, "failed" if failed else "passed", said)


def facts(found: Verification) -> list[tuple[str, str]]:
    """The numbers a reader looks for first, each with what it counts."""
    said = []
    neurons = [tally for tally in found.layers if tally.name != OUTPUT]
    if neurons:
        spikes = sum(tally.values for tally in neurons)
        said.append((count(sum(t.unexplained for t in neurons)), f"unexplained flips of {count(spikes)} spikes"))
        said.append((count(sum(t.explained for t in neurons)), "flips explained by rounding"))
    if found.task is not None:
        said.append((percent(found.task.agreement), f"argmax agreement on {count(found.task.samples)} samples"))
        if found.task.explained:
            said.append((count(found.task.explained), "decisions differ behind explained flips alone"))
        before, after = found.task.accuracy_reference, found.task.accuracy_candidate
        if before is not None and after is not None:
            said.append((f"{percent(before)} → {percent(after)}", "accuracy, source → candidate"))
        else:
            said.append((number(found.task.logit_error), "largest logit error"))
    return said


_SETTINGS = {
    "timesteps": "T",
    "input": "input",
    "input_shape": "input shape",
    "readout": "read-out",
    "leak": "leak",
    "threshold": "threshold",
    "strict": "fires on",
}
_CONVENTIONS = {"input", "readout"}
"""Settings that say how a network is used; all others were fixed when it was trained."""
_COMPARISONS = {"True": ">", "False": ">="}


def settings(held: Mapping[str, str]) -> list[tuple[str, str]]:
    """T, kind of input and what else was settled, each with its value and where that comes from; the architecture left out."""
    names = [name for name in held if name != "arch"]
    return [(_SETTINGS.get(name, name.replace("_", "-")), _setting(name, held[name])) for name in names]


def _setting(name: str, text: str) -> str:
    return re.sub(r"True|False", lambda word: _COMPARISONS[word[0]], text) if name == "strict" else text


def settings_line(held: Mapping[str, str]) -> str:
    """`T = 4 (default), input static (data), leak 0.25 (layers)`"""
    return ", ".join(f"{name} = {text}" if name == "T" else f"{name} {text}" for name, text in settings(held))


def assumed(held: Mapping[str, str]) -> dict[str, str]:
    """The settings that are in no file and that nobody gave; none if only conventions of snnconv are among them."""
    end = f" ({DEFAULT})"
    found = {name: text.removesuffix(end) for name, text in held.items() if text.endswith(end)}
    return found if found.keys() - _CONVENTIONS else {}


def provenance(verdict: Verdict) -> list[tuple[str, str]]:
    """What was verified, on what, with what, under which policy."""
    found, policy = verdict.verification, verdict.policy
    said = [
        ("source", found.source),
        ("source sha256", found.source_sha256),
        ("architecture", found.settings.get("arch", found.arch)),
        ("reference", found.reference),
        *settings(found.settings),
        ("candidate", found.candidate),
        ("candidate sha256", found.candidate_sha256),
        ("runtime", found.runtime),
        ("form", found.form),
        ("data", f"{count(found.data.samples)} samples of {found.data.origin}"),
        ("data fingerprint", found.data.fingerprint),
        ("levels", ", ".join(found.levels)),
        ("shard", f"{found.shard[0]}/{found.shard[1]}" if found.shard else "the whole data"),
    ]
    said += [(f"policy {key.replace('_', '-')}", "no limit" if v is None else f"{v:g}") for key, v in asdict(policy).items()]
    return said + list(found.environment.items())


@dataclass(frozen=True)
class ProbeTotal:
    """All layers of one kind of probe together; `nearest` is of the layer `nearest_in`."""

    probe: Probe
    total: LayerTally
    nearest: float | None
    nearest_in: str


def probe_totals(probes: Iterable[Probe]) -> list[ProbeTotal]:
    """The kinds of probes, each summed over its layers."""
    return [_probe_total(probe) for probe in probes]


def _probe_total(probe: Probe) -> ProbeTotal:
    layers = (replace(tally, name="", margins=(), flips=()) for tally in probe.layers)
    total = reduce(LayerTally.__add__, layers, LayerTally(""))
    reached = [(distance, layer) for layer, distance in probe.nearest.items() if distance is not None]
    nearest, layer = min(reached, default=(None, ""))
    return ProbeTotal(probe, total, nearest, layer)


def probed_layers(probes: Iterable[Probe]) -> list[str]:
    """The layers for which a probe says how near it came."""
    return list(dict.fromkeys(layer for probe in probes for layer in probe.nearest))


def count(value: int) -> str:
    """`12,544,000`"""
    return f"{value:,}"


def percent(value: float) -> str:
    """`99.80%`"""
    return f"{value:.2%}"


def of_bound(value: float | None) -> str:
    """An error as a share of its bound: `7.4%`."""
    if value is None:
        return "not a number"
    return f"{value:,.1%}" if value < 1e3 else f"{value:.1e} times"


def rate(value: float) -> str:
    """Spikes per neuron and step: `0.261`."""
    return f"{value:.3f}"


def number(value: float | None) -> str:
    """A number to a few places: `-63.59`."""
    return "not a number" if value is None else f"{value:.4g}"


def ulps(value: float | None) -> str:
    """A distance in units in the last place, or a dash where no threshold is finite."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if value == int(value) and value < 1e6 else f"{value:.3g}"


def megabytes(value: int) -> str:
    """`0.12 MB`, or a dash for no file."""
    return f"{value / 1e6:.2f} MB" if value else "\N{EN DASH}"
