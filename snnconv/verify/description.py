"""Level 1, what an exported file tells of its network beside what runs: neurons, counts and sites, against a fresh export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from snnconv.artifact.program_file import ProgramFile
from snnconv.engines import Candidate
from snnconv.results import UNPROVEN, Check
from snnconv.verify.graph import other_writers
from snnconv.verify.reference import Reference

_TOLD = ("counts_steps", "neurons", "sites")


def check_description(reference: Reference, candidate: Candidate) -> list[Check]:
    """Whether the metadata of an artifact describes its network as that of a fresh export does.

    Another version may describe in other words: what differs then is unproven. A `.pt2` describes nothing, it holds its program.
    """
    if isinstance(candidate.artifact, ProgramFile):
        return []
    fresh = reference.export(candidate.format, candidate.form, candidate.batch).deployed.artifact.metadata.document
    first = next(_unlike(candidate.artifact.metadata.document, fresh), "")
    is_open = bool(first) and bool(other_writers(candidate))
    return [Check("proof", "description", not first, first or "as in a fresh export", open=UNPROVEN if is_open else "")]


def _unlike(found: dict[str, Any], fresh: dict[str, Any]) -> Iterator[str]:
    """What is told otherwise than in a fresh export, in words."""
    for name in _TOLD:
        has, expected = _parts(found.get(name)), _parts(fresh[name])
        for key in {**expected, **has}:
            if has.get(key) != expected.get(key):
                seen, wanted = _short(has.get(key)), _short(expected.get(key))
                yield f"its metadata says {seen} of {name} {key}".rstrip() + f", not {wanted}"


def _parts(told: Any) -> dict[str, Any]:
    """The statements of a part of the metadata, by what they are about. On which kernel a proof was made is left out."""
    if not isinstance(told, list):
        return {"": told}
    parts: dict[str, Any] = {}
    for number, entry in enumerate(told):
        about = dict(entry) if isinstance(entry, dict) else {"": entry}
        about.pop("kernel", None)
        parts |= {f"{about.get('name', about.get('path', number))} {key}": value for key, value in about.items()}
    return parts


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
