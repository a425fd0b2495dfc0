"""Results as JSON documents. `schema` names the layout and changes with it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import snnconv
from snnconv.results import Conversion, Site, Verification

SCHEMA = 1


def fold_document(source: str, output: str, arch: str, sites: Iterable[Site]) -> dict[str, Any]:
    """What `fold` did."""
    return {**_head("fold"), "source": source, "output": output, "arch": arch, "sites": [asdict(s) for s in sites]}


def verification_document(results: Iterable[Verification]) -> dict[str, Any]:
    """What `verify` found, one entry per candidate."""
    listed = list(results)
    return {**_head("verify"), "equivalent": all(r.equivalent for r in listed), "results": [_verification(r) for r in listed]}


def conversion_document(result: Conversion) -> dict[str, Any]:
    """What `convert` did and found."""
    return {
        **_head("convert"),
        "equivalent": result.equivalent,
        "source": result.source,
        "arch": result.arch,
        "sites": [asdict(s) for s in result.sites],
        "results": [_verification(r) for r in result.verifications],
        "measures": [asdict(m) for m in result.measures],
    }


def _head(command: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "snnconv": snnconv.__version__, "command": command}


def _verification(result: Verification) -> dict[str, Any]:
    return _finite({"equivalent": result.equivalent, **asdict(result)})


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: a number that a damaged artifact did not give is null."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
