"""Where a result comes from: the settings of the network, each with its origin, and what was verified on what, with what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict

from snnconv.report.text import count
from snnconv.results import DEFAULT, Verdict

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
