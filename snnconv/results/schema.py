"""The layout of the JSON documents, schema 4: the types that are written and read, and the JSON Schema that is published of them.

`schema.json` beside this file is what the types say; a test holds the two together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from snnconv.results.conversion import Measure
from snnconv.results.folding import Site
from snnconv.results.inspection import Inspection
from snnconv.results.verdict import Policy
from snnconv.results.verification import Check, Verification

if TYPE_CHECKING:
    from pydantic import ConfigDict

SCHEMA = 4
OPTIONAL = ("outputs",)
"""The fields of a verification that are written only if they hold something."""

STRICT: ConfigDict = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""How pydantic reads these types: no unknown field, no string taken for a number, no infinity."""


@dataclass(frozen=True)
class Judgement:
    """The verdict on a result under the document's policy. The artifact is its source only if it is `equivalent` and
    `complete`; `word` says so in words, `checks` holds everything that was asked."""

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


@dataclass(frozen=True)
class BenchmarkDocument:
    """What `snnconv bench` measured: one entry per artifact, all on the same samples."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    schema: Literal[4]
    snnconv: str
    command: Literal["bench"]
    measures: tuple[Measure, ...]


FILE = Path(__file__).with_name("schema.json")


def published_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of every document that snnconv writes."""
    published: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return published


def generated_schema() -> dict[str, Any]:
    """The schema as the types have it, to be published as `schema.json`."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Every field is always written, but for those that are optional, and every integer is a count or an index."""

        def field_is_required(self, field: Any, total: bool) -> bool:
            return bool(field.get("name") not in OPTIONAL)

        def default_schema(self, schema: Any) -> dict[str, Any]:
            return self.generate_inner(schema["schema"])

        def int_schema(self, schema: Any) -> dict[str, Any]:
            return {"type": "integer", "minimum": 0}

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    kinds = VerificationDocument | ConversionDocument | FoldDocument | InspectionDocument | BenchmarkDocument
    body = TypeAdapter(kinds).json_schema(schema_generator=Generator)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:snnconv:report:{SCHEMA}",
        "title": f"Documents of snnconv, schema {SCHEMA}",
        "description": "What snnconv prints with --json and writes with --report FILE.json; `command` says which one wrote it.",
        "oneOf": body["anyOf"],
        "$defs": body["$defs"],
    }


def publish(path: Path = FILE) -> None:
    """Write the generated schema: `python -c "from snnconv.results.schema import publish; publish()"`."""
    path.write_text(json.dumps(generated_schema(), indent=2) + "\n", encoding="utf-8")
