"""The layout of the JSON documents, schema 4, as types: what is written, what is read, and what the published schema says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from snnconv.results import Check, Inspection, Measure, Site, Verification
from snnconv.results.verdict import Policy

if TYPE_CHECKING:
    from pydantic import ConfigDict

SCHEMA = 4

STRICT: ConfigDict = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""How pydantic reads these types: no unknown field, no string taken for a number, no infinity."""


@dataclass(frozen=True)
class Judgement:
    """The verdict on a result under the document's policy. Only where it is `equivalent` and `complete` is the artifact its
    source; `word` says so in words, `checks` holds everything that was asked."""

    equivalent: bool
    complete: bool
    word: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class Result(Verification):
    """Everything found about one candidate, and the verdict on it."""

    verdict: Judgement


@dataclass(frozen=True)
class VerificationDocument:
    """What `snnconv verify` found: one result per candidate. `equivalent` says that no check of any of them failed."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    schema: Literal[4]
    snnconv: str
    command: Literal["verify"]
    equivalent: bool
    policy: Policy
    results: tuple[Result, ...]


@dataclass(frozen=True)
class ConversionDocument:
    """What `snnconv convert` did and found: every norm, one result per artifact, measures of the source and of them."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    schema: Literal[4]
    snnconv: str
    command: Literal["convert"]
    equivalent: bool
    policy: Policy
    source: str
    arch: str
    sites: tuple[Site, ...]
    results: tuple[Result, ...]
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class FoldDocument:
    """What `snnconv fold` did: what became of every norm."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    schema: Literal[4]
    snnconv: str
    command: Literal["fold"]
    source: str
    output: str
    arch: str
    reference: str
    settings: dict[str, str]
    sites: tuple[Site, ...]


@dataclass(frozen=True, kw_only=True)
class InspectionDocument(Inspection):
    """What `snnconv inspect` saw. `foldable` says that every norm folds and no layer is unknown."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    schema: Literal[4]
    snnconv: str
    command: Literal["inspect"]
    source: str
    foldable: bool
